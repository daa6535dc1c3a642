package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// CompletingUpstream answers every completion with "hi", and remembers the
// headers of the last request.
type CompletingUpstream struct {
	URL  string
	mu   sync.Mutex
	last http.Header
}

// NewCompletingUpstream starts an upstream that answers "hi" to all requests.
func NewCompletingUpstream(t testing.TB) *CompletingUpstream {
	u := new(CompletingUpstream)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.last = r.Header.Clone()
		u.mu.Unlock()
		var req struct {
			Stream bool `json:"stream"`
		}
		_ = json.NewDecoder(r.Body).Decode(&req)
		w.Header().Set("X-Trace-Id", "upstream")
		w.Header().Set("X-Tenant-Id", "upstream")
		if !req.Stream {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n"+
			"data: {\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}}\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(srv.Close)
	u.URL = srv.URL
	return u
}

func (u *CompletingUpstream) Got(name string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last.Values(name)
}
