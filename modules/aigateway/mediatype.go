package aigateway

import (
	"mime"
	"regexp"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// mediaType is the Content-Type of an answer that passes through, in lower case.
type mediaType struct{ name, charset string }

// plainType is what a media type and a charset are made of.
var (
	plainType    = regexp.MustCompile(`^[a-z]+/[a-z0-9][a-z0-9.+_-]{0,63}$`)
	plainCharset = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,19}$`)
)

// mediaTypeOf reads a Content-Type, of which servers write the case as they like. What is
// none stands for anything. Parameters other than the charset are left out: a client has
// no use for them, and they are the server's own words.
func mediaTypeOf(contentType string) mediaType {
	name, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		name, _, _ = strings.Cut(contentType, ";") // a parameter is at fault, such as one that is there twice
		name = strings.ToLower(strings.TrimSpace(name))
	}
	if !plainType.MatchString(name) {
		return mediaType{name: "application/octet-stream"}
	}
	charset := strings.ToLower(params["charset"])
	if !plainCharset.MatchString(charset) {
		charset = ""
	}
	return mediaType{name, charset}
}

// String returns the Content-Type for the client.
func (m mediaType) String() string {
	if m.charset == "" {
		return m.name
	}
	return m.name + "; charset=" + m.charset
}

func (m mediaType) isEvents() bool { return m.name == sse.MediaType }

func (m mediaType) isJSON() bool {
	return m.name == "application/json" || strings.HasSuffix(m.name, "+json")
}

func (m mediaType) isText() bool { return strings.HasPrefix(m.name, "text/") }
