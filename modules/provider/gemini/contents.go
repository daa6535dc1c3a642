package gemini

import (
	"encoding/json"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

const (
	roleUser  = "user"
	roleModel = "model"
)

// content is one turn of a conversation.
type content struct {
	Role  string `json:"role,omitempty"`
	Parts []part `json:"parts"`
}

// part holds one of these members, and a signature with it.
type part struct {
	Text      string            `json:"text,omitempty"`
	Data      *blob             `json:"inlineData,omitempty"`
	Call      *functionCall     `json:"functionCall,omitempty"`
	Response  *functionResponse `json:"functionResponse,omitempty"`
	Signature string            `json:"thoughtSignature,omitempty"`
}

type blob struct {
	MIMEType string `json:"mimeType"`
	Data     string `json:"data"` // base64
}

type functionCall struct {
	ID   string          `json:"id,omitempty"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

type functionResponse struct {
	ID       string `json:"id,omitempty"`
	Name     string `json:"name"`
	Response result `json:"response"`
}

// result holds a function's result, or why it has none, as text: as an object, its large
// numbers would be rounded.
type result struct {
	Text  *string `json:"result,omitempty"`
	Error *string `json:"error,omitempty"`
}

func resultOf(m *dialect.Message) result {
	text := m.Text()
	if m.Failed {
		return result{Error: &text}
	}
	return result{Text: &text}
}

// noSignature replaces a signature that Gemini 3 requires and that does not
// exist, because another model made the call or the client dropped it. See
// https://ai.google.dev/gemini-api/docs/thought-signatures.
const noSignature = "skip_thought_signature_validator"

// contents translates a conversation. signed is for models that refuse tool
// calls without a signature.
func contents(messages []dialect.Message, signed bool) ([]content, error) {
	var list []content
	var files []part // of tool results; all results have to come first
	for i := range messages {
		m := &messages[i]
		if m.Role == dialect.RoleTool {
			more, err := filesOf(m)
			if err != nil {
				return nil, err
			}
			list = add(list, roleUser, part{Response: &functionResponse{m.ToolID, m.ToolName, resultOf(m)}})
			files = append(files, more...)
			continue
		}
		list, files = add(list, roleUser, files...), nil
		role := roleUser
		if m.Role == dialect.RoleAssistant {
			role = roleModel
		}
		for _, mp := range m.Parts {
			p, err := newPart(mp)
			if err != nil {
				return nil, err
			}
			list = add(list, role, p)
		}
		for j, c := range m.ToolCalls {
			p := part{Call: &functionCall{c.ID, c.Name, c.Arguments}}
			p.Signature = c.Raw.Get("extra_content.google.thought_signature").Str
			// Only the first of parallel calls has one.
			if p.Signature == "" && signed && j == 0 {
				p.Signature = noSignature
			}
			list = add(list, role, p)
		}
	}
	return add(list, roleUser, files...), nil
}

// add adds parts to a turn: roles must alternate.
func add(list []content, role string, parts ...part) []content {
	if len(parts) == 0 {
		return list
	}
	if n := len(list); n > 0 && list[n-1].Role == role {
		list[n-1].Parts = append(list[n-1].Parts, parts...)
		return list
	}
	return append(list, content{role, parts})
}

func newPart(p dialect.Part) (part, error) {
	switch {
	case p.Kind == dialect.PartText:
		return part{Text: p.Text}, nil
	case p.URL != "":
		return part{}, provider.Unsupported(p.Path, "this provider does not fetch files: send them as data:<media type>;base64,<data>")
	case p.Data == "":
		return part{}, provider.Invalid(p.Path, "want data in base64")
	}
	return part{Data: &blob{p.MediaType, p.Data}}, nil
}

// filesOf returns the parts of a tool's result that are not text, such as a
// screenshot. The result of a function is JSON, which has no place for them.
func filesOf(m *dialect.Message) ([]part, error) {
	var files []part
	for _, p := range m.Parts {
		if p.Kind == dialect.PartText {
			continue
		}
		file, err := newPart(p)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}
