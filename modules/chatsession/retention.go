package chatsession

import (
	"cmp"
	"time"
	"unicode/utf8"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// options are the rules under which messages are kept: the tenant's own before
// the directive's. create makes the session where there is none.
func (t *turn) options(create bool) store.AppendOptions {
	tn := t.x.Rec.Tenant
	return store.AppendOptions{
		Create:      create,
		Retention:   cmp.Or(tn.Retention, time.Duration(t.h.Retention)),
		MaxMessages: cmp.Or(tn.MaxMessages, t.h.MaxMessages),
	}
}

// title is the beginning of a conversation's first message: the user's, where
// there is one.
func title(msgs []*store.Message) string {
	s := msgs[0].Content
	for _, m := range msgs {
		if m.Role == roleUser && m.Content != "" {
			s = m.Content
			break
		}
	}
	if utf8.RuneCountInString(s) <= titleChars {
		return s
	}
	return string([]rune(s)[:titleChars-1]) + "…"
}
