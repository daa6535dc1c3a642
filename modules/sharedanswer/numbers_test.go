package sharedanswer

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestNumbers(t *testing.T) {
	m := numbers{turn: "t"}
	var all strings.Builder
	for _, part := range []struct{ in, want string }{
		{"data: a\n\ndata: b\n\n", "id: t:1\ndata: a\n\nid: t:2\ndata: b\n\n"},
		{": keep-alive\n", ": keep-alive\n"},
		{": keep-alive\ndata: c\ndata: d\n\n: x\n", ": keep-alive\nid: t:3\ndata: c\ndata: d\n\n: x\n"},
		{"", ""},
		{"data: [DONE]\n\n", "id: t:4\ndata: [DONE]\n\n"},
	} {
		got := string(m.add([]byte(part.in)))
		if got != part.want {
			t.Errorf("%q became %q, want %q", part.in, got, part.want)
		}
		all.WriteString(got)
	}
	for id, want := range map[string]string{
		"":    all.String(),
		"t:3": ": x\nid: t:4\ndata: [DONE]\n\n",
		"t:4": "",
		"t:5": "",
		"t":   "",
	} {
		s := seen{id: id}
		if got := string(s.rest([]byte(all.String()))); got != want {
			t.Errorf("after %q comes %q, want %q", id, got, want)
		}
	}
}

func TestLastSeen(t *testing.T) {
	for _, tc := range []struct {
		header, query string
		n             int
		fails         bool
	}{
		{"", "", 0, false},
		{"t:7", "", 7, false},
		{"", "after=t:7", 7, false},
		{"t:0", "after=t:7", 0, false},
		{"x", "after=t:7", 0, true},
		{"t", "", 0, true},
		{"t:", "", 0, true},
		{"t:-1", "", 0, true},
		{"t:1:2", "", 0, true},
		{"other:1", "", 0, true},
		{"", "after=other:1", 0, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/?"+tc.query, nil)
		r.Header.Set("Last-Event-ID", tc.header)
		if n, err := LastSeen(r, "t"); n != tc.n || (err != nil) != tc.fails {
			t.Errorf("%q %q: %d, %v", tc.header, tc.query, n, err)
		}
	}
}
