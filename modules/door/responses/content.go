package responses

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// parts are what an item says.
type parts struct {
	list     []any // of textPart and others
	refusals []string
}

type textPart struct {
	Type string `json:"type"` // always "text"
	Text string `json:"text"`
}

type imagePart struct {
	Type  string   `json:"type"` // always "image_url"
	Image imageURL `json:"image_url"`
}

type imageURL struct {
	URL    string          `json:"url"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

type filePart struct {
	Type string   `json:"type"` // always "file"
	File fileData `json:"file"`
}

type fileData struct {
	Name json.RawMessage `json:"filename,omitempty"`
	Data json.RawMessage `json:"file_data,omitempty"`
}

type audioPart struct {
	Type  string          `json:"type"` // always "input_audio"
	Audio json.RawMessage `json:"input_audio"`
}

// readContent reads a string or a list of parts.
func (c *call) readContent(v gjson.Result, path string) (parts, error) {
	var p parts
	switch {
	case !v.Exists() || v.Type == gjson.Null:
	case v.Type == gjson.String:
		p.list = append(p.list, textPart{"text", v.Str})
	case v.IsArray():
		for i, e := range v.Array() {
			c.partOthers(e)
			if c.refusesFile(e, path, i) {
				p.list = append(p.list, textPart{"text", door.StoredFile})
				continue
			}
			if err := p.add(e, fmt.Sprintf("%s.%d", path, i)); err != nil {
				return p, err
			}
		}
	default:
		return p, provider.Invalid(path, "want a string or a list of parts")
	}
	return p, nil
}

// refusesFile refuses a part that is a file by its id.
func (c *call) refusesFile(part gjson.Result, path string, i int) bool {
	typ := part.Get("type").Str
	if typ != "input_file" && typ != "input_image" || given(part.Get("file_id")) == nil {
		return false
	}
	c.refuse(fmt.Sprintf("%s.%d.file_id", path, i), "files are not stored here: want their data, or a URL")
	return true
}

// partOthers notes the members of a part that have no place in chat completions.
func (c *call) partOthers(v gjson.Result) {
	read := []string{"type"}
	switch v.Get("type").Str {
	case "refusal":
		read = append(read, "refusal")
	case "input_image":
		read = append(read, "image_url", "detail", "file_id")
	case "input_file":
		read = append(read, "filename", "file_data", "file_url", "file_id")
	case "input_audio":
		read = append(read, "input_audio")
	default:
		read = append(read, "text")
	}
	c.dropped.Others(v, "input.content", read...)
}

func (p *parts) add(v gjson.Result, path string) error {
	switch v.Get("type").Str {
	case "input_text", "output_text", "text", "summary_text", "reasoning_text":
		p.list = append(p.list, textPart{"text", v.Get("text").Str})
	case "refusal":
		p.refusals = append(p.refusals, v.Get("refusal").Str)
	case "input_image":
		url := v.Get("image_url")
		if url.Type != gjson.String {
			return provider.Invalid(path+".image_url", "required, a URL")
		}
		p.list = append(p.list, imagePart{"image_url", imageURL{url.Str, given(v.Get("detail"))}})
	case "input_file":
		data := given(v.Get("file_data"))
		if url := given(v.Get("file_url")); url != nil {
			data = url // as the URL of an image stands in place of its data
		}
		p.list = append(p.list, filePart{"file", fileData{given(v.Get("filename")), data}})
	case "input_audio":
		if !v.Get("input_audio").IsObject() {
			return provider.Invalid(path+".input_audio", "required, an object")
		}
		p.list = append(p.list, audioPart{"input_audio", json.RawMessage(v.Get("input_audio").Raw)})
	default:
		return provider.Invalid(path+".type", "want input_text, output_text, refusal, input_image, input_file or input_audio")
	}
	return nil
}

// text returns the joined text; ok says that there is nothing else.
func (p parts) text() (text string, ok bool) {
	var b strings.Builder
	ok = true
	for _, e := range p.list {
		if t, isText := e.(textPart); isText {
			b.WriteString(t.Text)
		} else {
			ok = false
		}
	}
	return b.String(), ok
}

// media returns the parts that are not text.
func (p parts) media() []any {
	var list []any
	for _, e := range p.list {
		if _, isText := e.(textPart); !isText {
			list = append(list, e)
		}
	}
	return list
}

// content returns the parts as the content of a message: a string if there is only
// one text, since not all servers take a list.
func (p parts) content() any {
	if len(p.list) == 1 {
		if t, ok := p.list[0].(textPart); ok {
			return t.Text
		}
	}
	if p.list == nil {
		return ""
	}
	return p.list
}
