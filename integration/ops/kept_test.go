package ops

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestReloadUnderKeptConnections posts over kept connections while Caddy reloads.
// Caddy closes idle connections then, and a post that is on its way gets no
// answer. A client may not repeat it without knowing.
func TestReloadUnderKeptConnections(t *testing.T) {
	t.Parallel()
	const clients, reloads = 8, 10
	up := harness.NewUpstream(t, harness.Document(http.StatusOK, harness.WholeOf(`{"role":"assistant","content":"hi"}`, "stop")))
	lost := make(map[string]int64)
	for name, site := range map[string]string{
		"reverse_proxy": "reverse_proxy " + strings.TrimPrefix(up.Origin(), "http://") + "\n",
		"the chain":     up.Chain(""),
	} {
		c := harness.Start(t, harness.PlainTenants, site)
		var posts, failed atomic.Int64
		stop := make(chan struct{})
		var running sync.WaitGroup
		for range clients {
			running.Go(func() {
				cl := harness.NewClient(c, "acme", "ann")
				tr := http.DefaultTransport.(*http.Transport).Clone()
				defer tr.CloseIdleConnections()
				cl.HTTP = &http.Client{Transport: tr}
				for {
					select {
					case <-stop:
						return
					default:
					}
					req := cl.Request(http.MethodPost, "/v1/chat/completions", harness.CompletionRequestFor("fast"))
					posts.Add(1)
					resp, err := cl.HTTP.Do(req)
					if err == nil {
						_, err = io.Copy(new(bytes.Buffer), resp.Body)
						resp.Body.Close()
						if resp.StatusCode != http.StatusOK {
							t.Errorf("%s: %d", name, resp.StatusCode)
							return
						}
					}
					if err != nil {
						failed.Add(1)
					}
				}
			})
		}
		for range reloads {
			c.Reload()
		}
		close(stop)
		running.Wait()
		lost[name] = failed.Load()
		t.Logf("%s: %d of %d posts lost in %d reloads", name, failed.Load(), posts.Load(), reloads)
	}
	if ours, plain := lost["the chain"], lost["reverse_proxy"]; ours > plain {
		t.Errorf("%d posts lost, %d behind a plain reverse_proxy", ours, plain)
	}
}
