package chat

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// rest returns the stream of a response behind an event.
func (a asks) rest(path string, after int) string {
	a.t.Helper()
	path += "?stream=true"
	if after >= 0 {
		path += fmt.Sprint("&starting_after=", after)
	}
	return harness.ReadAll(a.t, a.cl.Do(http.MethodGet, path, nil))
}

// lastOf returns the data of a stream's last event.
func lastOf(stream string) gjson.Result {
	_, data, _ := strings.Cut(stream[strings.LastIndex(stream, "event: "):], "data: ")
	return gjson.Parse(data)
}

// TestStartsBehindEnd follows responses from behind their last event on: nothing is left.
func TestStartsBehindEnd(t *testing.T) {
	up := harness.NewUpstream(t)
	for _, window := range []string{"5m", "1ms"} { // the events are there, or gone
		c := harness.Start(t, harness.PlainTenants, up.Sessions("resume_window "+window))
		a := asks{t, harness.NewClient(c, "acme", "ann")}
		path := "/v1/responses/" + a.create(map[string]any{"input": "one", "background": true}).Get("id").Str
		call := up.Call()
		call.Say("part")
		far := a.cl.Start(a.cl.Request(http.MethodGet, path+"?stream=true&starting_after=1000", nil))
		live := a.cl.Start(a.cl.Request(http.MethodGet, path+"?stream=true", nil)).Raw().UpTo("part")
		call.Finish("stop")
		if got := far.Raw().Rest(); got != "" {
			t.Errorf("%s: behind the end came, while it ran,\n%s", window, got)
		}
		last := lastOf(live.Rest())
		end := int(last.Get("sequence_number").Int())
		for _, after := range []int{end, end + 1, 1000} {
			if got := a.rest(path, after); got != "" {
				t.Errorf("%s: behind %d of %d came\n%s", window, after, end, got)
			}
		}
		if got := lastOf(a.rest(path, end-1)); got.Raw != last.Raw {
			t.Errorf("%s: the last event is %s\nwant %s", window, got.Raw, last.Raw)
		}
	}
}

// TestStartsBehindFailure does so with a response that has failed before its answer began,
// whose only event is its end.
func TestStartsBehindFailure(t *testing.T) {
	up := harness.NewUpstream(t)
	a := asks{t, harness.NewClient(harness.Start(t, harness.PlainTenants, up.Sessions("")), "acme", "ann")}
	path := "/v1/responses/" + a.create(map[string]any{"input": "one", "background": true}).Get("id").Str
	up.Call().Fail(http.StatusBadRequest, `{"error":{"message":"no"}}`)
	a.wantStatus(path, "failed")
	if got := lastOf(a.rest(path, -1)); got.Get("type").Str != "response.failed" || got.Get("sequence_number").Raw != "0" {
		t.Errorf("its last event is %s", got.Raw)
	}
	if got := a.rest(path, 0); got != "" {
		t.Errorf("behind it came\n%s", got)
	}
}
