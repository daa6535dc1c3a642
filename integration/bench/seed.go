package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/integration/bench/load"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/badger"
)

const (
	vocabulary = 4000
	textLen    = 400 // bytes of a message
)

// seed writes messages into a new store in a folder: those of the sessions that
// load.Request cycles through. It calls the store itself: a million messages take
// half a minute, and the requests for them would take six.
func seed(ctx context.Context, dir string, messages int) error {
	b := &badger.Badger{Path: dir}
	if err := b.Provision(caddy.Context{Context: ctx}); err != nil {
		return err
	}
	s, err := b.Open(zap.NewNop())
	if err != nil {
		return err
	}
	return errors.Join(fill(ctx, s, messages), s.Close())
}

func fill(ctx context.Context, s store.Store, messages int) error {
	opts := store.AppendOptions{Create: true, Title: "a title", Retention: 30 * 24 * time.Hour}
	texts := newWriter()
	for n := range sessionsOf(messages) {
		key := store.SessionKey{User: "anonymous", ID: fmt.Sprintf(load.SessionID, n)}
		msgs := make([]*store.Message, perSession)
		for i := range msgs {
			msgs[i] = texts.message(i)
		}
		if err := s.Append(ctx, fmt.Sprintf(load.TenantID, 0), key, opts, msgs...); err != nil {
			return err
		}
	}
	return nil
}

// writer makes up texts of words, as often as words are in a language.
type writer struct {
	random *rand.Rand
	words  []string
}

func newWriter() *writer {
	w := &writer{random: rand.New(rand.NewPCG(1, 2))} //nolint:gosec // no secret: the same texts every time
	for range vocabulary {
		word := make([]byte, 2+w.random.IntN(9))
		for i := range word {
			word[i] = byte('a' + w.random.IntN(26))
		}
		w.words = append(w.words, string(word))
	}
	return w
}

func (w *writer) message(i int) *store.Message {
	var text strings.Builder
	for text.Len() < textLen {
		at := w.random.ExpFloat64() * vocabulary / 10
		text.WriteString(w.words[min(int(at), vocabulary-1)])
		text.WriteByte(' ')
	}
	m := &store.Message{
		ID: uuid.Must(uuid.NewV7()).String(), Role: "user", Content: text.String(),
		Time: time.Now(), TokenCount: 90, Status: store.StatusComplete,
	}
	if i%2 == 1 {
		m.Role, m.ModelID = "assistant", short.model
	}
	return m
}
