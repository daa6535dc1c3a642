package integration

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	caddyv2 "github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/store/badger"
)

func init() {
	caddyv2.RegisterModule(trouble{})
}

// trouble is a store that fails when a test tells it to: its operations do
// while there is a file of their name in the process's directory. It is a
// module of the test binary's own; everything else of it is Badger.
type trouble struct {
	badger.Badger
}

func (trouble) CaddyModule() caddyv2.ModuleInfo {
	return caddyv2.ModuleInfo{
		ID:  "chat.stores.trouble",
		New: func() caddyv2.Module { return new(trouble) },
	}
}

func (b *trouble) Open(log *zap.Logger) (store.Store, error) {
	s, err := b.Badger.Open(log)
	return troubled{s}, err
}

type troubled struct{ store.Store }

// errTrouble holds what no client may see.
var errTrouble = errors.New("goroutine 1 [running]: /var/lib/secret: trouble")

func troubles(op string) bool {
	_, err := os.Stat("trouble-" + op)
	return err == nil
}

func (s troubled) Take(ctx context.Context, tenant string, takes []store.Take) ([]store.Taken, bool, error) {
	if troubles("take") {
		return nil, false, errTrouble
	}
	return s.Store.Take(ctx, tenant, takes)
}

func (s troubled) Append(ctx context.Context, tenant string, k store.SessionKey, opts store.AppendOptions, msgs ...*store.Message) error {
	if troubles("append") {
		return errTrouble
	}
	return s.Store.Append(ctx, tenant, k, opts, msgs...)
}

func (s troubled) History(ctx context.Context, tenant string, k store.SessionKey, r store.Range) ([]store.Message, bool, error) {
	if troubles("history") {
		return nil, false, errTrouble
	}
	return s.Store.History(ctx, tenant, k, r)
}

func (s troubled) Claim(ctx context.Context, tenant string, k store.SessionKey, turn string, lease time.Duration) (<-chan struct{}, error) {
	if troubles("claim") {
		return nil, errTrouble
	}
	return s.Store.Claim(ctx, tenant, k, turn, lease)
}

func (s troubled) Sessions(ctx context.Context, tenant, user string, after *store.Cursor, limit int) ([]store.Session, bool, error) {
	if troubles("sessions") {
		return nil, false, errTrouble
	}
	return s.Store.Sessions(ctx, tenant, user, after, limit)
}

// FinishTurn is slow, as it may be over a network.
func (s troubled) FinishTurn(ctx context.Context, tenant string, k store.SessionKey, turn string, keep time.Duration, last ...store.Event) error {
	if troubles("finish") {
		<-time.After(200 * time.Millisecond)
	}
	return s.Store.FinishTurn(ctx, tenant, k, turn, keep, last...)
}

// trouble makes the operations of a process's store fail, and calls the end.
func (c *caddyProcess) trouble(op string) (end func()) {
	c.t.Helper()
	name := filepath.Join(c.dir, "trouble-"+op)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			c.t.Fatal(err)
		}
	}
}

// troubledTenants is plainTenants with the store in trouble.
var troubledTenants = strings.Replace(plainTenants, "chat {", "chat {\n\t\tstore trouble", 1)

func TestOnStoreError(t *testing.T) {
	t.Run("deny is the default", func(t *testing.T) {
		c := startCaddy(t, troubledTenants, limited("requests 2 1h"))
		ann := newClient(c, "acme", "ann")
		ann.wantStatuses("before", 200)
		end := c.trouble("take")
		f := wantFailure(t, ann.do(http.MethodGet, "/", nil), 503, "storage_unavailable")
		if strings.Contains(f.Error.Message, "secret") {
			t.Errorf("the message tells %q", f.Error.Message)
		}
		end()
		ann.wantStatuses("after", 200, 429)
	})
	t.Run("allow lets through", func(t *testing.T) {
		c := startCaddy(t, troubledTenants, limited("requests 2 1h\n\t\tconcurrent 1\n\t\ton_store_error allow"))
		ann := newClient(c, "acme", "ann")
		ann.wantStatuses("before", 200)
		end := c.trouble("take")
		ann.wantStatuses("without the store", 200, 200, 200)
		end()
		eventually(t, "the limit holds again", func() bool { return ann.get().StatusCode == http.StatusTooManyRequests })
	})
}

func TestStoreFails(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, troubledTenants, up.chain(""))
	ann := newClient(c, "acme", "ann")
	session := newSession()

	end := c.trouble("append")
	wantFailure(t, ann.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "hello"}), 503, "storage_unavailable")
	end()
	end = c.trouble("history")
	for _, path := range []string{"/history", "/stream"} {
		wantFailure(t, ann.do(http.MethodGet, "/chat/"+session+path, nil), 503, "storage_unavailable")
	}
	wantFailure(t, ann.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "hello"}), 503, "storage_unavailable")
	end()

	// an answer that cannot be stored must not look as if it were
	a := ann.ask(session, "hello")
	call := up.call()
	call.say("lost")
	stream := a.events()
	stream.text("lost")
	end = c.trouble("append")
	call.finish("stop")
	last := stream.rest()
	end()
	if last.failed == nil || last.failed.Code != "storage_unavailable" || last.done == nil || last.done.FinishReason != "error" {
		t.Errorf("the stream ended with %+v", last.events)
	}
	if strings.Contains(last.failed.Data, "secret") {
		t.Errorf("the error tells %s", last.failed.Data)
	}
	wantList(t, "history", contents(ann.history(session)), []string{"user: hello"})
	wantFree(t, up, ann, session)
}
