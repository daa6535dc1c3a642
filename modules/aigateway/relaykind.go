package aigateway

import (
	"bytes"
	"errors"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// relayKind says what an answer that passes through can be, beside a stream of events.
type relayKind struct {
	// members are those of which a JSON document has one. Without any no document is an
	// answer.
	members []string

	// plain says that an answer need not be a JSON document.
	plain bool
}

// transcript is the member with the text of sound.
const transcript = "text"

// relayKinds are those of the APIs, by OpenAI's path behind its base URL.
var relayKinds = map[string]relayKind{
	"/completions":          {members: []string{"choices.0"}},
	"/moderations":          {members: []string{"results"}},
	"/rerank":               {members: []string{"results", "data", "0.index"}},
	"/images/generations":   {members: []string{"data"}},
	"/images/edits":         {members: []string{"data"}},
	"/images/variations":    {members: []string{"data"}},
	"/audio/speech":         {plain: true},
	"/audio/transcriptions": {members: []string{transcript, "segments"}, plain: true},
	"/audio/translations":   {members: []string{transcript, "segments"}, plain: true},
}

// pages are how documents for browsers begin, in lower case.
var pages = [...]string{"<!doctype", "<html", "<?xml", "<head", "<body"}

// isPage reports whether an answer begins as a document for browsers: a proxy's, about
// itself.
func isPage(head []byte) bool {
	begin := strings.ToLower(string(head[:min(len(head), len("<!doctype"))]))
	for _, p := range pages {
		if strings.HasPrefix(begin, p) {
			return true
		}
	}
	return false
}

// isWritten reports whether an answer begins like a document, so that more of it is to be
// read before it is judged.
func isWritten(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n\ufeff")
	return len(head) == 0 || head[0] == '{' || head[0] == '[' || head[0] == '<'
}

// judge returns an error if what was read cannot be an answer of this kind. A short JSON
// document was read whole.
func (r *relayed) judge() error {
	head := bytes.TrimLeft(r.head, " \t\r\n\ufeff")
	document := bytes.HasPrefix(head, []byte("{")) || bytes.HasPrefix(head, []byte("[")) && !r.typ.isText()
	document = document && (!r.ended || gjson.ValidBytes(head))
	switch {
	case r.typ.isEvents():
		return firstFailure(r.head, r.ended)
	case r.typ.name == "text/html", isPage(head), r.typ.isText() && len(r.kind.members) == 0:
		return provider.BadAnswer(errors.New("the answer is a page or a text"))
	case !r.ended && (r.typ.isJSON() || document) && beginsWithError(head):
		return provider.BadAnswer(errors.New("the answer is an error, and a long one"))
	case !document && r.typ.isJSON():
		return provider.BadAnswer(errors.New("the answer is not JSON"))
	case !document:
		return nil
	case r.ended:
		return r.kind.judge(head)
	case r.typ.isJSON() && len(r.kind.members) == 0:
		return provider.BadAnswer(errNoAnswer)
	}
	return nil
}

// judge returns an error if a JSON document is not an answer of this kind.
func (k relayKind) judge(doc []byte) error {
	if _, _, _, failed := provider.ErrorOf(doc); failed {
		return provider.NewError(0, doc)
	}
	for _, m := range k.members {
		v := gjson.GetBytes(doc, m)
		if v.Type == gjson.JSON || v.Type == gjson.Number || v.Type == gjson.String && m == transcript {
			return nil
		}
	}
	return provider.BadAnswer(errNoAnswer)
}

// errNoAnswer is what no API is answered with.
var errNoAnswer = errors.New("the answer is a document that has nothing of what was asked for")
