package bedrock

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/dialect"
)

// message is one turn of a conversation in which the roles alternate.
type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

// block is a part of a message. Exactly one member is set.
type block struct {
	Text       string      `json:"text,omitempty"`
	Image      *media      `json:"image,omitempty"`
	Document   *media      `json:"document,omitempty"`
	ToolUse    *toolUse    `json:"toolUse,omitempty"`
	ToolResult *toolResult `json:"toolResult,omitempty"`
	Reasoning  *reasoning  `json:"reasoningContent,omitempty"`
}

type media struct {
	Format string      `json:"format"`
	Name   string      `json:"name,omitempty"` // of a document
	Source mediaSource `json:"source"`
}

type mediaSource struct {
	Bytes string `json:"bytes"` // base64
}

type toolUse struct {
	ID    string          `json:"toolUseId"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

type toolResult struct {
	ID      string  `json:"toolUseId"`
	Content []block `json:"content"`
	Status  string  `json:"status,omitempty"`
}

// messages builds a conversation.
type messages struct {
	list   []message
	claude bool
	names  map[string]int // of documents, with the last number used
}

// add adds a client's message.
func (m *messages) add(msg *dialect.Message) error {
	content, err := m.content(msg.Parts)
	if err != nil {
		return err
	}
	switch msg.Role {
	case dialect.RoleTool:
		if len(content) == 0 {
			// Bedrock refuses a result without content.
			content = []block{{Text: "(no output)"}}
		}
		result := &toolResult{ID: msg.ToolID, Content: content}
		if msg.Failed {
			result.Status = "error"
		}
		m.append(dialect.RoleUser, block{ToolResult: result})
	case dialect.RoleAssistant:
		if m.claude {
			for _, r := range thoughtsOf(msg) {
				m.append(msg.Role, block{Reasoning: &r})
			}
		}
		m.append(msg.Role, content...)
		for _, call := range msg.ToolCalls {
			m.append(msg.Role, block{ToolUse: &toolUse{call.ID, call.Name, call.Arguments}})
		}
	default:
		m.append(msg.Role, content...)
	}
	return nil
}

func (m *messages) append(role string, content ...block) {
	if len(content) == 0 {
		return
	}
	if n := len(m.list); n > 0 && m.list[n-1].Role == role {
		m.list[n-1].Content = append(m.list[n-1].Content, content...)
		return
	}
	m.list = append(m.list, message{role, content})
}

func (m *messages) content(parts []dialect.Part) ([]block, error) {
	var content []block
	for _, p := range parts {
		switch p.Kind {
		case dialect.PartText:
			content = append(content, block{Text: p.Text})
		case dialect.PartImage:
			image, err := imageOf(p)
			if err != nil {
				return nil, err
			}
			content = append(content, block{Image: image})
		case dialect.PartFile:
			document, err := m.document(p)
			if err != nil {
				return nil, err
			}
			content = append(content, block{Document: document})
		default:
			return nil, provider.Unsupported(p.Path, "this provider only accepts text, images and documents")
		}
	}
	return content, nil
}

var imageFormats = map[string]string{
	"image/png":  "png",
	"image/jpeg": "jpeg",
	"image/gif":  "gif",
	"image/webp": "webp",
}

func imageOf(p dialect.Part) (*media, error) {
	format := imageFormats[p.MediaType]
	switch {
	case p.URL != "":
		return nil, provider.Unsupported(p.Path+".image_url.url", "this provider does not fetch images: send a data: URL")
	case format == "":
		return nil, provider.Unsupported(p.Path+".image_url.url", "this provider accepts images of the types png, jpeg, gif and webp")
	}
	return &media{Format: format, Source: mediaSource{p.Data}}, nil
}

var documentFormats = map[string]string{
	"application/pdf":    "pdf",
	"application/msword": "doc",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
	"application/vnd.ms-excel": "xls",
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
	"text/csv":      "csv",
	"text/html":     "html",
	"text/markdown": "md",
	"text/plain":    "txt",
}

func (m *messages) document(p dialect.Part) (*media, error) {
	format := documentFormats[p.MediaType]
	switch {
	case p.URL != "":
		return nil, provider.Unsupported(p.Path+".file.file_data", "this provider does not fetch files: send a data: URL")
	case format == "":
		return nil, provider.Unsupported(p.Path+".file.file_data", "this provider accepts files of the types pdf, doc, docx, xls, xlsx, csv, html, md and txt")
	}
	return &media{Format: format, Name: m.name(p.Name), Source: mediaSource{p.Data}}, nil
}

// maxName leaves room for a number after a document's name, which may have 200
// characters.
const maxName = 190

// name makes a document's name unique, with the few characters that are
// allowed.
func (m *messages) name(file string) string {
	if i := strings.LastIndexByte(file, '.'); i > 0 {
		file = file[:i]
	}
	name := strings.Join(strings.FieldsFunc(file, func(r rune) bool {
		return !strings.ContainsRune(alphanumeric+"-()[]", r)
	}), " ")
	name = strings.TrimSpace(name[:min(len(name), maxName)])
	if name == "" {
		name = "document"
	}
	if m.names == nil {
		m.names = make(map[string]int)
	}
	unique := name
	for m.names[unique] > 0 {
		m.names[name]++
		unique = fmt.Sprintf("%s (%d)", name, m.names[name])
	}
	m.names[unique] = 1
	return unique
}

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
