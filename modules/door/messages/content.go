package messages

import (
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func typeOf(b gjson.Result) string { return b.Get("type").Str }

// block returns a block of content as parts.
func (t *translation) block(b gjson.Result, path string) ([]part, error) {
	if typeOf(b.Get("source")) == "file" && b.Get("source.file_id").Str != "" {
		t.refuse(path+".source.file_id", "the gateway keeps no files: want base64 or url")
		return textPart(door.StoredFile, b), nil
	}
	switch typ := typeOf(b); typ {
	case kindText:
		text := b.Get("text")
		if text.Type != gjson.String {
			return nil, provider.Invalid(path+".text", "required, a string")
		}
		t.others(b, "text")
		return textPart(text.Str, b), nil
	case "image":
		t.others(b, "source")
		u, err := sourceURL(b.Get("source"), path+".source")
		return []part{{Type: partImage, ImageURL: &imageURL{u}, CacheControl: cacheControl(b)}}, err
	case "document":
		t.others(b, "source", "title", "context")
		return t.document(b, path)
	case "search_result":
		t.others(b, "title", "source", "content")
		text := b.Get("title").Str + "\n" + b.Get("source").Str + "\n" + provider.TextOf(b.Get("content"))
		return textPart(text, b), nil
	case "":
		return nil, provider.Invalid(path+".type", "required, such as text")
	case kindThinking, kindRedacted, kindTool, "tool_result":
		return nil, provider.Invalid(path+".type", "a block of type "+typ+" cannot stand here")
	default:
		t.leaveOut(typ, roleUser, path)
		return nil, nil
	}
}

// others notes the members of a block that have no place in chat completions, where no text
// names what it is from.
func (t *translation) others(b gjson.Result, read ...string) {
	if enabled := b.Get("citations.enabled"); enabled.IsBool() && !enabled.Bool() {
		read = append(read, "citations")
	}
	t.dropped.Others(b, "messages.content", append(read, "type", "cache_control")...)
	t.dropped.Others(b.Get("source"), "messages.content.source", "type", "media_type", "data", "url", "content", "file_id")
}

// textPart returns text as the part that a block becomes. Most providers refuse empty
// ones.
func textPart(text string, b gjson.Result) []part {
	if text == "" {
		return nil
	}
	return []part{{Type: partText, Text: text, CacheControl: cacheControl(b)}}
}

// sourceURL returns where the data of an image or a file is.
func sourceURL(source gjson.Result, path string) (string, error) {
	switch typeOf(source) {
	case "base64":
		media, data := source.Get("media_type").Str, source.Get("data").Str
		switch {
		case media == "":
			return "", provider.Invalid(path+".media_type", "required, such as image/png")
		case data == "":
			return "", provider.Invalid(path+".data", "required, in base64")
		}
		return "data:" + media + ";base64," + data, nil
	case "url":
		if u := source.Get("url").Str; u != "" {
			return u, nil
		}
		return "", provider.Invalid(path+".url", "required, an https URL")
	case "file":
		return "", provider.Unsupported(path+".type", "the gateway keeps no files: want base64 or url")
	}
	return "", provider.Invalid(path+".type", "want base64 or url")
}

// document returns a document: its text, or a file. What it says about itself is read first.
func (t *translation) document(b gjson.Result, path string) ([]part, error) {
	source, title, about := b.Get("source"), b.Get("title").Str, b.Get("context").Str
	head := title
	if title != "" && about != "" {
		head += "\n"
	}
	head += about
	switch typeOf(source) {
	case "text":
		return textPart(joined(head, source.Get("data").Str), b), nil
	case "content":
		if content := source.Get("content"); content.IsArray() {
			return t.pieces(head, content, b, path+".source.content")
		}
		return textPart(joined(head, source.Get("content").Str), b), nil
	}
	u, err := sourceURL(source, path+".source")
	if title == "" {
		title = "document.pdf"
	}
	doc := part{Type: partFile, File: &file{title, u}, CacheControl: cacheControl(b)}
	if about == "" {
		return []part{doc}, err
	}
	return []part{{Type: partText, Text: about}, doc}, err
}

// pieces returns a document that consists of blocks.
func (t *translation) pieces(head string, content, b gjson.Result, path string) ([]part, error) {
	var list []part
	if head != "" {
		list = append(list, part{Type: partText, Text: head})
	}
	for i, e := range content.Array() {
		parts, err := t.block(e, member(path, i))
		if err != nil {
			return nil, err
		}
		list = append(list, parts...)
	}
	if mark := cacheControl(b); mark != nil && len(list) > 0 {
		list[len(list)-1].CacheControl = mark
	}
	return list, nil
}

// joined returns what is said of a text, and the text below.
func joined(head, text string) string {
	if head == "" || text == "" {
		return head + text
	}
	return head + "\n\n" + text
}
