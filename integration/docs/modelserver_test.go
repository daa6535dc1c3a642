package docs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// modelServer stands in for a server with OpenAI's API.
type modelServer struct {
	*httptest.Server

	mu       sync.Mutex
	requests []modelRequest
}

// modelRequest is what was asked of it.
type modelRequest struct {
	path, authorization string
	Model               string `json:"model"`
	Stream              bool   `json:"stream"`
}

// newModelServer starts a server that always answers "Hello from afar".
func newModelServer(t testing.TB) *modelServer {
	t.Helper()
	m := new(modelServer)
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *modelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := modelRequest{path: r.URL.Path, authorization: r.Header.Get("Authorization")}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	m.requests = append(m.requests, req)
	m.mu.Unlock()

	const usage = `{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}`
	if !req.Stream {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"1","object":"chat.completion","created":1,"model":%q,"choices":[{"index":0,`+
			`"message":{"role":"assistant","content":"Hello from afar"},"finish_reason":"stop"}],"usage":%s}`, req.Model, usage)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	chunk := func(choices, usage string) {
		fmt.Fprintf(w, "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":%q,\"choices\":[%s],\"usage\":%s}\n\n",
			req.Model, choices, usage)
	}
	for _, word := range []string{"Hello", " from", " afar"} {
		chunk(fmt.Sprintf(`{"index":0,"delta":{"content":%q},"finish_reason":null}`, word), "null")
	}
	chunk(`{"index":0,"delta":{},"finish_reason":"stop"}`, "null")
	chunk("", usage)
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// only returns the one request that was made.
func (m *modelServer) only(t testing.TB) modelRequest {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.requests) != 1 {
		t.Fatalf("%d requests upstream: %+v", len(m.requests), m.requests)
	}
	return m.requests[0]
}
