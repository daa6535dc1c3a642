package chatsession

import (
	"cmp"
	"time"
	"unicode/utf8"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// options returns how messages are kept, by the tenant's settings or else the
// directive's. create allows a new session.
func (t *turn) options(create bool) store.AppendOptions {
	return t.h.appendOptions(t.x.Rec.Tenant, create)
}

func (h *Handler) appendOptions(tn *tenant.Tenant, create bool) store.AppendOptions {
	return store.AppendOptions{
		Create:      create,
		Retention:   cmp.Or(tn.Retention, time.Duration(h.Retention)),
		MaxMessages: cmp.Or(tn.MaxMessages, h.MaxMessages),
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
