package items

import (
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// textsOf returns the texts of a message as an item has them, which are kept apart.
func textsOf(content gjson.Result) any {
	if len(content.Array()) < 2 || !content.IsArray() {
		return provider.TextOf(content)
	}
	parts := []any{}
	for _, p := range content.Array() {
		if text := p.Get("text"); text.Type == gjson.String {
			parts = append(parts, map[string]any{"type": "input_text", "text": text.Str})
		}
	}
	return parts
}

// outputOf returns the content of a tool's message as the output of a call.
func outputOf(content gjson.Result) (output any, ok bool) {
	for _, p := range content.Array() {
		if p.IsObject() && p.Get("type").Str != "text" {
			return inputParts(content)
		}
	}
	return textsOf(content), true
}

// inputParts returns parts of chat completions as those of an item, and whether all have a
// form.
func inputParts(content gjson.Result) (parts []any, ok bool) {
	parts = []any{}
	for _, p := range content.Array() {
		part := inputPart(p)
		if part == nil {
			return nil, false
		}
		parts = append(parts, part)
	}
	return parts, true
}

// HasForm reports whether there is a form for a part of a message of the user's or a tool's.
func HasForm(part gjson.Result) bool { return inputPart(part) != nil }

// inputPart returns a part as one of an item; nil if it has no form.
func inputPart(p gjson.Result) map[string]any {
	switch p.Get("type").Str {
	case "text":
		return map[string]any{"type": "input_text", "text": p.Get("text").Str}
	case "image_url":
		image := map[string]any{"type": "input_image", "image_url": p.Get("image_url.url").Str, "detail": "auto"}
		if detail := p.Get("image_url.detail"); detail.Type == gjson.String {
			image["detail"] = detail.Str
		}
		return image
	case "file":
		if id := p.Get("file.file_id").Str; id != "" {
			return map[string]any{"type": "input_file", "file_id": id}
		}
		return map[string]any{"type": "input_file", "filename": p.Get("file.filename").Str, "file_data": p.Get("file.file_data").Str}
	}
	return nil
}
