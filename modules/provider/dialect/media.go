package dialect

import (
	"mime"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// mediaTypes are the registered names of types that are often called otherwise.
var mediaTypes = map[string]string{
	"image/jpg":           "image/jpeg",
	"image/pjpeg":         "image/jpeg",
	"image/x-png":         "image/png",
	"application/x-pdf":   "application/pdf",
	"text/x-markdown":     "text/markdown",
	"application/msexcel": "application/vnd.ms-excel",
}

// from reads a URL, or the data in it.
func (p Part) from(u, name string) (Part, error) {
	scheme, rest, _ := strings.Cut(u, ":")
	switch scheme = strings.ToLower(scheme); scheme {
	case "https", "http":
		if strings.HasPrefix(rest, "//") {
			p.URL = scheme + ":" + rest
			return p, nil
		}
	case "data":
		head, data, _ := strings.Cut(rest, ",")
		media, encoding := cutLast(head, ';')
		typ, _, err := mime.ParseMediaType(media)
		if err == nil && strings.EqualFold(strings.TrimSpace(encoding), "base64") && data != "" {
			p.MediaType, p.Data = typ, standard(data)
			if registered := mediaTypes[typ]; registered != "" {
				p.MediaType = registered
			}
			return p, nil
		}
	}
	return p, provider.Invalid(p.Path+"."+name, "want an http(s) URL or data:<media type>;base64,<data>")
}

// cutLast cuts a text at the last of its separators.
func cutLast(s string, sep byte) (before, after string) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// variants are what other forms of base64 have in place of the standard's.
var variants = strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "", "\t", "", " ", "")

// standard returns base64 in the one form that all providers accept.
func standard(data string) string {
	if strings.ContainsAny(data, "-_\r\n\t ") {
		data = variants.Replace(data)
	}
	if rest := len(data) % 4; rest > 1 && !strings.HasSuffix(data, "=") {
		data += "=="[rest-2:]
	}
	return data
}
