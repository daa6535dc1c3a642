package price

import (
	_ "embed" // of the families
	"encoding/json"
	"strings"
	"sync"
)

//go:embed reasoning.json
var reasoningFile []byte

// reasoningDocument is the form of reasoning.json.
type reasoningDocument struct {
	Date     string   `json:"date"` // of the last look at the sources, as 2006-01-02
	Sources  []string `json:"sources"`
	Families []family `json:"families"`
}

// family is one vendor's models that reason, with * at the ends of a name for
// anything.
type family struct {
	Vendor string   `json:"vendor"`
	Names  []string `json:"names"`
	Not    []string `json:"not"`
}

var families = sync.OnceValue(func() []family {
	var doc reasoningDocument
	if err := json.Unmarshal(reasoningFile, &doc); err != nil {
		panic("price: reasoning.json: " + err.Error()) // it is part of the program, and tested
	}
	return doc.Families
})

// Thinks reports whether a model, by the provider's own name, is of a family
// that reasons before it answers.
func Thinks(model string) bool {
	if len(model) > maxName {
		return false
	}
	name := plain(model)
	name = name[strings.LastIndexByte(name, '/')+1:]
	for _, f := range families() {
		if matchesAny(f.Names, name) && !matchesAny(f.Not, name) {
			return true
		}
	}
	return false
}

func matchesAny(names []string, name string) bool {
	for _, n := range names {
		text := strings.Trim(n, "*")
		p := pattern{text: text, atStart: n[0] != '*', atEnd: !strings.HasSuffix(n, "*")}
		if n == name || text != n && p.matches(name) {
			return true
		}
	}
	return false
}
