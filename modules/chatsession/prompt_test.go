package chatsession

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

func TestTitle(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"hello", "hello"},
		{strings.Repeat("ü", 80), strings.Repeat("ü", 80)},
		{strings.Repeat("ü", 81), strings.Repeat("ü", 79) + "…"},
	} {
		if got := title([]*store.Message{newMessage(roleUser, tc.in)}); got != tc.want || !utf8.ValidString(got) {
			t.Errorf("title of %d characters is %q", utf8.RuneCountInString(tc.in), got)
		}
	}
}

func TestLastEventID(t *testing.T) {
	for _, tc := range []struct {
		in   string
		turn string
		n    int
	}{
		{"0198f:57", "0198f", 57},
		{"0198f:0", "0198f", 0},
		{"", "", 0},
		{"0198f", "", 0},
		{"0198f:x", "", 0},
		{"0198f:-1", "", 0},
		{"0198f:1:2", "", 0},
	} {
		if turn, n := lastEventID(tc.in); turn != tc.turn || n != tc.n {
			t.Errorf("%q: got %q %d, want %q %d", tc.in, turn, n, tc.turn, tc.n)
		}
	}
}

func TestCursors(t *testing.T) {
	for _, s := range []string{"x", "0", "-1", "1.5", "18446744073709551616"} {
		if _, err := historyCursor(s); err == nil {
			t.Errorf("history cursor %q was taken", s)
		}
	}
	if n, err := historyCursor("42"); n != 42 || err != nil {
		t.Errorf("history cursor 42: %d, %v", n, err)
	}
	for _, s := range []string{"1", "1_", "x_0198f000-0000-7000-8000-000000000000", "1_nobody", "_0198f000-0000-7000-8000-000000000000"} {
		if _, err := listCursor(s); err == nil {
			t.Errorf("list cursor %q was taken", s)
		}
	}
	c, err := listCursor("1700000000000_0198f000-0000-7000-8000-000000000000")
	if err != nil || c.UpdatedAt.UnixMilli() != 1700000000000 || c.ID != "0198f000-0000-7000-8000-000000000000" {
		t.Errorf("list cursor: %+v, %v", c, err)
	}
}

func TestMatch(t *testing.T) {
	h := &Handler{Path: "/chat"}
	for _, tc := range []struct {
		path string
		want bool
	}{
		{"/chat", true}, {"/chat/", true}, {"/chat/x", true},
		{"/chatter", false}, {"/chat.html", false}, {"/", false}, {"/a/chat", false},
	} {
		if _, ok := h.subpath(tc.path); ok != tc.want {
			t.Errorf("%s: %v, want %v", tc.path, ok, tc.want)
		}
	}
}
