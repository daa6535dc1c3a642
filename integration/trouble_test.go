package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
