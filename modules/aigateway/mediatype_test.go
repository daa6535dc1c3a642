package aigateway

import "testing"

func TestMediaType(t *testing.T) {
	for contentType, want := range map[string]struct {
		sent                string
		events, json, texts bool
	}{
		"application/json":                                  {"application/json", false, true, false},
		"Application/JSON; Charset=UTF-8":                   {"application/json; charset=utf-8", false, true, false},
		"application/problem+json; key=sk-secret":           {"application/problem+json", false, true, false},
		"Text/Event-Stream; charset=utf-8":                  {"text/event-stream; charset=utf-8", true, false, true},
		" text/event-stream ;charset=utf-8; charset=utf-16": {"text/event-stream", true, false, true},
		"text/event-stream; charset":                        {"text/event-stream", true, false, true},
		"text/event-streams":                                {"text/event-streams", false, false, true},
		"TEXT/vtt":                                          {"text/vtt", false, false, true},
		"audio/mpeg; k=sk-live-0123456789":                  {"audio/mpeg", false, false, false},
		"audio/mpeg; charset=sk-live-0123456789-and-more":   {"audio/mpeg", false, false, false},
		"":             {"application/octet-stream", false, false, false},
		"no type":      {"application/octet-stream", false, false, false},
		"text/a key=x": {"application/octet-stream", false, false, false},
	} {
		m := mediaTypeOf(contentType)
		if m.String() != want.sent || m.isEvents() != want.events || m.isJSON() != want.json || m.isText() != want.texts {
			t.Errorf("%q is %q: %v, %v, %v", contentType, m, m.isEvents(), m.isJSON(), m.isText())
		}
	}
}
