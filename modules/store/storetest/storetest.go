// Package storetest holds the suite that every store passes. A new store
// calls Run from a test of its own; the names of the subtests are what it
// promises.
package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// Open returns an empty store that takes the time from now. The suite closes
// it.
type Open func(t *testing.T, now func() time.Time) store.Store

// Run puts a store to the test.
func Run(t *testing.T, open Open) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"isolation", isolationTests},
		{"sessions", sessionTests},
		{"history", historyTests},
		{"list", listTests},
		{"expiry", expiryTests},
		{"deletion", deletionTests},
		{"turns", turnTests},
		{"limiter", limiterTests},
		{"ledger", ledgerTests},
		{"windows", windowTests},
		{"cache", cacheTests},
		{"closed", closedTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, tc := range group.tests {
				t.Run(tc.name, func(t *testing.T) { tc.run(newSubject(t, open)) })
			}
		})
	}
}

type test struct {
	name string
	run  func(x *subject)
}

// subject is a store under test with its clock.
type subject struct {
	*testing.T
	store.Store
	clock *clock
	ctx   context.Context
}

func newSubject(t *testing.T, open Open) *subject {
	c := &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	s := open(t, c.Now)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	// Far more than anything here takes: what should be woken and is not
	// fails instead of hanging.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return &subject{t, s, c, ctx}
}

// clock is a clock that stands still until it is told to go on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const (
	tenantA = "acme"
	tenantB = "globex"
	user    = "anna"
)

// sid makes session ids that are the same in every run.
func sid(n int) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(strconv.Itoa(n))).String()
}

func key(n int) store.SessionKey { return store.SessionKey{User: user, ID: sid(n)} }

var create = store.AppendOptions{Create: true, Title: "a title"}

func (x *subject) message(content string) *store.Message {
	return &store.Message{
		ID: uuid.Must(uuid.NewV7()).String(), Role: "user", Content: content,
		Time: x.clock.Now(), Status: store.StatusComplete,
	}
}

func (x *subject) append(tenant string, s store.SessionKey, opts store.AppendOptions, contents ...string) {
	x.Helper()
	msgs := make([]*store.Message, len(contents))
	for i, c := range contents {
		msgs[i] = x.message(c)
	}
	if err := x.Append(x.ctx, tenant, s, opts, msgs...); err != nil {
		x.Fatalf("append: %v", err)
	}
}

// numbers appends messages "1" to "n", whose content is their number.
func (x *subject) numbers(s store.SessionKey, opts store.AppendOptions, n int) {
	x.Helper()
	for i := 1; i <= n; i++ {
		x.append(tenantA, s, opts, strconv.Itoa(i))
	}
}

func (x *subject) history(tenant string, s store.SessionKey, r store.Range) (msgs []store.Message, more bool) {
	x.Helper()
	msgs, more, err := x.History(x.ctx, tenant, s, r)
	if err != nil {
		x.Fatalf("history: %v", err)
	}
	return msgs, more
}

// wantContents checks all that is kept of a session.
func (x *subject) wantContents(tenant string, s store.SessionKey, want ...string) {
	x.Helper()
	msgs, _ := x.history(tenant, s, store.Range{Limit: 10_000})
	x.equal("contents", contents(msgs), want)
}

func (x *subject) wantNoSession(tenant string, s store.SessionKey) {
	x.Helper()
	msgs, _, err := x.History(x.ctx, tenant, s, store.Range{Limit: 10})
	x.wantErr(err, store.ErrNotFound)
	if len(msgs) != 0 {
		x.Errorf("messages of a session that is not there: %v", contents(msgs))
	}
}

func (x *subject) list(tenant, user string, after *store.Cursor, limit int) (list []store.Session, more bool) {
	x.Helper()
	list, more, err := x.Sessions(x.ctx, tenant, user, after, limit)
	if err != nil {
		x.Fatalf("sessions: %v", err)
	}
	return list, more
}

func (x *subject) wantErr(err, want error) {
	x.Helper()
	if !errors.Is(err, want) {
		x.Fatalf("error is %v, want %v", err, want)
	}
}

func (x *subject) ok(err error) {
	x.Helper()
	if err != nil {
		x.Fatalf("unexpected error: %v", err)
	}
}

func (x *subject) equal(what string, got, want []string) {
	x.Helper()
	if len(got) != len(want) {
		x.Fatalf("%s: %d: %q, want %d: %q", what, len(got), got, len(want), want)
	}
	for i := range got {
		if got[i] != want[i] {
			x.Fatalf("%s: %q, want %q", what, got, want)
		}
	}
}

func contents(msgs []store.Message) []string {
	list := make([]string, len(msgs))
	for i, m := range msgs {
		list[i] = m.Content
	}
	return list
}

func ids(list []store.Session) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.ID
	}
	return out
}
