package ops

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestOnStoreError(t *testing.T) {
	t.Run("deny is the default", func(t *testing.T) {
		c := harness.Start(t, harness.TroubledTenants, harness.LimitedSite("requests 2 1h"))
		ann := harness.NewClient(c, "acme", "ann")
		ann.WantStatuses("before", 200)
		end := c.Trouble("take")
		f := harness.WantFailure(t, ann.Do(http.MethodGet, "/", nil), 503, "storage_unavailable")
		if strings.Contains(f.Error.Message, "secret") {
			t.Errorf("the message reveals %q", f.Error.Message)
		}
		end()
		ann.WantStatuses("after", 200, 429)
	})
	t.Run("allow lets requests through", func(t *testing.T) {
		c := harness.Start(t, harness.TroubledTenants, harness.LimitedSite("requests 2 1h\n\t\tconcurrent 1\n\t\ton_store_error allow"))
		ann := harness.NewClient(c, "acme", "ann")
		ann.WantStatuses("before", 200)
		end := c.Trouble("take")
		ann.WantStatuses("without the store", 200, 200, 200)
		end()
		harness.Eventually(t, "the limit applies again", func() bool { return ann.Get().StatusCode == http.StatusTooManyRequests })
	})
}

func TestStoreFails(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.TroubledTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()

	end := c.Trouble("append")
	harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hello"}), 503, "storage_unavailable")
	end()
	end = c.Trouble("history")
	for _, path := range []string{"/history", "/stream"} {
		harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+path, nil), 503, "storage_unavailable")
	}
	harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hello"}), 503, "storage_unavailable")
	end()

	// an answer that cannot be stored must not look stored
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
		t.Errorf("the error reveals %s", last.Failed.Data)
	}
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: hello"})
	harness.WantFree(t, up, ann, session)
}
