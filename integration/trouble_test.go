package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Trouble makes the operations of a process's store fail, and calls the end.
func (c *Caddy) Trouble(op string) (end func()) {
	c.T.Helper()
	name := filepath.Join(c.Dir, "trouble-"+op)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		c.T.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			c.T.Fatal(err)
		}
	}
}

// TroubledTenants is PlainTenants with the store in trouble.
var TroubledTenants = strings.Replace(PlainTenants, "chat {", "chat {\n\t\tstore trouble", 1)

func TestOnStoreError(t *testing.T) {
	t.Run("deny is the default", func(t *testing.T) {
		c := Start(t, TroubledTenants, LimitedSite("requests 2 1h"))
		ann := NewClient(c, "acme", "ann")
		ann.WantStatuses("before", 200)
		end := c.Trouble("take")
		f := WantFailure(t, ann.Do(http.MethodGet, "/", nil), 503, "storage_unavailable")
		if strings.Contains(f.Error.Message, "secret") {
			t.Errorf("the message tells %q", f.Error.Message)
		}
		end()
		ann.WantStatuses("after", 200, 429)
	})
	t.Run("allow lets through", func(t *testing.T) {
		c := Start(t, TroubledTenants, LimitedSite("requests 2 1h\n\t\tconcurrent 1\n\t\ton_store_error allow"))
		ann := NewClient(c, "acme", "ann")
		ann.WantStatuses("before", 200)
		end := c.Trouble("take")
		ann.WantStatuses("without the store", 200, 200, 200)
		end()
		Eventually(t, "the limit holds again", func() bool { return ann.Get().StatusCode == http.StatusTooManyRequests })
	})
}

func TestStoreFails(t *testing.T) {
	up := NewSteered(t)
	c := Start(t, TroubledTenants, up.Chain(""))
	ann := NewClient(c, "acme", "ann")
	session := NewSession()

	end := c.Trouble("append")
	WantFailure(t, ann.Do(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: "hello"}), 503, "storage_unavailable")
	end()
	end = c.Trouble("history")
	for _, path := range []string{"/history", "/stream"} {
		WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+path, nil), 503, "storage_unavailable")
	}
	WantFailure(t, ann.Do(http.MethodPost, "/chat", ChatRequest{SessionID: session, Message: "hello"}), 503, "storage_unavailable")
	end()

	// an answer that cannot be stored must not look as if it were
	a := ann.Ask(session, "hello")
	call := up.Call()
	call.Say("lost")
	stream := a.Events()
	stream.Text("lost")
	end = c.Trouble("append")
	call.Finish("stop")
	last := stream.Rest()
	end()
	if last.Failed == nil || last.Failed.Code != "storage_unavailable" || last.Done == nil || last.Done.FinishReason != "error" {
		t.Errorf("the stream ended with %+v", last.Events)
	}
	if strings.Contains(last.Failed.Data, "secret") {
		t.Errorf("the error tells %s", last.Failed.Data)
	}
	WantList(t, "history", Contents(ann.History(session)), []string{"user: hello"})
	WantFree(t, up, ann, session)
}
