package price

import (
	_ "embed" // of the prices
	"encoding/json"
	"regexp"
	"strings"
	"sync"
)

//go:embed prices.json
var file []byte

// vendors are whose price lists a type of provider may mean, the likeliest
// first. Servers of the type openai speak OpenAI's language, and are other
// vendors' as often.
var vendors = map[string][]string{
	"openai":     {"openai", "mistral", "deepseek", "xai", "cohere", "groq"},
	"anthropic":  {"anthropic"},
	"gemini":     {"gemini", "anthropic"},
	"bedrock":    {"bedrock"},
	"cloudflare": {"cloudflare"},
}

// free are the types of provider that cost nothing, whatever the model.
var free = map[string]bool{"echo": true, "ollama": true}

// prefixes are the names that gateways put before a model to say whose it is,
// and the vendors that they stand for.
var prefixes = map[string]string{
	"openai": "openai", "anthropic": "anthropic", "mistral": "mistral", "mistralai": "mistral",
	"google": "gemini", "google-ai-studio": "gemini", "google-vertex-ai": "gemini", "deepseek": "deepseek",
	"groq": "groq", "grok": "xai", "xai": "xai", "x-ai": "xai", "cohere": "cohere", "workers-ai": "cloudflare",
}

// look finds a price in the lists.
func look(typ, model string) (p Price, ok bool) {
	if free[typ] {
		return Price{}, true
	}
	name := plain(model)
	for _, v := range vendors[typ] {
		if p, ok := table()[v].find(name); ok {
			return p, true
		}
	}
	if typ != "openai" && typ != "cloudflare" {
		return Price{}, false
	}
	prefix, rest, _ := strings.Cut(name, "/")
	return table()[prefixes[prefix]].find(rest)
}

// region is where a model of Bedrock runs. Only global has prices of its own.
var region = regexp.MustCompile(`^(us|us-gov|eu|ap|apac|au|jp|ca|in|sa)\.`)

// plain is a model's name without what does not change its price: an ARN or
// the path of a cloud's resource before it, the region, capital letters.
func plain(model string) string {
	name := strings.ToLower(strings.TrimSpace(model))
	if strings.HasPrefix(name, "arn:") {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	if i := strings.LastIndex(name, "models/"); i == 0 || i > 0 && name[i-1] == '/' {
		name = name[i+len("models/"):]
	}
	if i := strings.LastIndexByte(name, '@'); i > 0 && name[i-1] != '/' {
		name = name[:i] + "-" + name[i+1:] // Vertex's version
	}
	return region.ReplaceAllString(name, "")
}

// version is the day or the name of a model's version.
var version = regexp.MustCompile(`-(latest|20\d{2}-?(0[1-9]|1[0-2])-?\d{2})$`)

// list is a vendor's prices.
type list struct {
	names    map[string]Price
	patterns []pattern
}

// pattern is a name that begins, ends, or both, with anything.
type pattern struct {
	text           string
	atStart, atEnd bool // where the text must stand
	price          Price
}

func (t pattern) matches(name string) bool {
	switch {
	case t.atStart:
		return strings.HasPrefix(name, t.text)
	case t.atEnd:
		return strings.HasSuffix(name, t.text)
	default:
		return strings.Contains(name, t.text)
	}
}

// find prefers the exact name, then the one without its version, and then
// the pattern that says most.
func (l *list) find(name string) (Price, bool) {
	if l == nil || name == "" {
		return Price{}, false
	}
	if p, ok := l.names[name]; ok {
		return p, true
	}
	if p, ok := l.names[version.ReplaceAllString(name, "")]; ok {
		return p, true
	}
	var best pattern
	for _, t := range l.patterns {
		if len(t.text) > len(best.text) && t.matches(name) {
			best = t
		}
	}
	return best.price, best.text != ""
}

// document is the form of prices.json.
type document struct {
	Date    string             `json:"date"`   // the day of the prices, as 2006-01-02
	Source  string             `json:"source"` // where they come from
	License string             `json:"license"`
	Vendors map[string][]entry `json:"vendors"`
}

// entry is one price. A name with * at an end stands for all that go on there.
type entry struct {
	Names []string `json:"names"`
	rates
	Long *struct {
		Above int64 `json:"above"`
		rates
	} `json:"long"`
}

type rates struct {
	Input     float64 `json:"input"`
	Cached    float64 `json:"cached"`
	Written   float64 `json:"written"`
	ForAnHour float64 `json:"writtenForAnHour"`
	Output    float64 `json:"output"`
}

func (r rates) price() Price {
	return Price{Input: r.Input, Cached: r.Cached, Written: r.Written, ForAnHour: r.ForAnHour, Output: r.Output}
}

// table is the price lists by vendor. They are read when they are first
// asked for.
var table = sync.OnceValue(func() map[string]*list {
	var doc document
	if err := json.Unmarshal(file, &doc); err != nil {
		panic("price: prices.json: " + err.Error()) // it is part of the program, and tested
	}
	lists := make(map[string]*list, len(doc.Vendors))
	for vendor, entries := range doc.Vendors {
		l := &list{names: make(map[string]Price)}
		for _, e := range entries {
			l.add(e)
		}
		lists[vendor] = l
	}
	return lists
})

func (l *list) add(e entry) {
	p := e.price()
	if e.Long != nil {
		long := e.Long.price()
		p.Long, p.LongAbove = &long, e.Long.Above
	}
	for _, name := range e.Names {
		text := strings.Trim(name, "*")
		if text == name {
			l.names[name] = p
			continue
		}
		l.patterns = append(l.patterns, pattern{text, name[0] != '*', !strings.HasSuffix(name, "*"), p})
	}
}
