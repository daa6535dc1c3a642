package chatsession

import (
	"cmp"
	"time"
	"unicode/utf8"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// options returns how messages are kept, by the tenant's settings or else the
// directive's. create allows a new session.
func (t *turn) options(create bool) store.AppendOptions {
	tn := t.x.Rec.Tenant
	return store.AppendOptions{
		Create:      create,
		Retention:   cmp.Or(tn.Retention, time.Duration(t.h.Retention)),
		MaxMessages: cmp.Or(tn.MaxMessages, t.h.MaxMessages),
	}
}

// title returns the beginning of the first message with text from the user, or
// else of the first message.
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
