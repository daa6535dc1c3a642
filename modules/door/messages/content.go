package messages

import (
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func typeOf(b gjson.Result) string { return b.Get("type").Str }

// block returns a block of content as parts.
func (t *translation) block(b gjson.Result, path string) ([]part, error) {
	switch typ := typeOf(b); typ {
	case kindText:
		text := b.Get("text")
		if text.Type != gjson.String {
			return nil, provider.Invalid(path+".text", "required, a string")
		}
		return textPart(text.Str, b), nil
	case "image":
		u, err := sourceURL(b.Get("source"), path+".source")
		return []part{{Type: partImage, ImageURL: &imageURL{u}, CacheControl: cacheControl(b)}}, err
	case "document":
		return document(b, path)
	case "search_result":
		text := b.Get("title").Str + "\n" + b.Get("source").Str + "\n" + provider.TextOf(b.Get("content"))
		return textPart(text, b), nil
	case "":
		return nil, provider.Invalid(path+".type", "required, such as text")
	case kindThinking, kindRedacted, kindTool, "tool_result":
		return nil, provider.Invalid(path+".type", "a block of type "+typ+" cannot stand here")
	default:
		t.dropped.Add("messages.content." + typ)
		t.unknown = path + ".type"
		return nil, nil
	}
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

// document returns a document: its text, or a file.
func document(b gjson.Result, path string) ([]part, error) {
	source, title := b.Get("source"), b.Get("title").Str
	var text string
	switch typeOf(source) {
	case "text":
		text = source.Get("data").Str
	case "content":
		text = provider.TextOf(source.Get("content"))
	default:
		u, err := sourceURL(source, path+".source")
		if title == "" {
			title = "document.pdf"
		}
		return []part{{Type: partFile, File: &file{title, u}, CacheControl: cacheControl(b)}}, err
	}
	if title != "" {
		text = title + "\n\n" + text
	}
	return textPart(text, b), nil
}
