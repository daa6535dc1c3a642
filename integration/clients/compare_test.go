package clients

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// empty reports whether an answer has nothing to go on with.
func (s *sight) empty() bool {
	return s.Error == nil && s.Text+s.Refusal == "" && len(s.ToolCalls)+len(s.Models)+len(s.Vectors) == 0
}

// compare checks what a client saw.
func (o officialClient) compare(t *testing.T, c clientCase, got sight) {
	t.Helper()
	want := c.want
	if o.is(refusalIsError) && want.Refusal != "" && want.Error == nil {
		if got.Error == nil || !strings.Contains(got.Error.Message, want.Refusal) {
			t.Errorf("error %+v, want the refusal %q", got.Error, want.Refusal)
		}
		return
	}
	if want.Error != nil || got.Error != nil {
		o.compareError(t, c, got)
		return
	}
	if c.Do == "abort" {
		if got.Text+got.Reasoning == "" || !strings.HasPrefix(want.Text, got.Text) || !strings.HasPrefix(want.Reasoning, got.Reasoning) {
			t.Errorf("the client read %q before it left, want a beginning of %q", got.Text, want.Text)
		}
		c.play.wantEnded(t)
		return
	}
	if o.is(refusalIsFiltered) && want.Refusal != "" {
		want.Finish = "content_filter"
	}
	switch {
	case o.is(refusalIsText):
		want.Text, want.Refusal = want.Text+want.Refusal, ""
		got.Text, got.Refusal = got.Text+got.Refusal, "" // Anthropic's own explain it beside the text
	case o.is(refusalIsLost):
		want.Refusal = ""
	}
	if o.is(finishIsLost) && want.Finish != "tool_calls" {
		want.Finish = "stop"
	}
	wantSeen(t, "text", got.Text, want.Text)
	wantSeen(t, "refusal", got.Refusal, want.Refusal)
	if c.Do != "tools" && (!o.is(reasoningIsLost) || got.Reasoning != "") {
		wantSeen(t, "reasoning", got.Reasoning, want.Reasoning)
	}
	wantSeen(t, "finish reason", got.Finish, want.Finish)
	wantSeen(t, "tools that ran", got.Ran, want.Ran)
	wantSeen(t, "models", got.Models, want.Models)
	wantSeen(t, "vectors", got.Vectors, want.Vectors)
	compareCalls(t, got.ToolCalls, want.ToolCalls)
	switch c.Do {
	case "tools":
		c.play.wantToldResult(t, want.ToolCalls)
	case "chat", "stream", "counted":
		o.compareUsage(t, c.Do, got.Usage, want.Usage)
	}
}

func (o officialClient) is(p peculiarity) bool { return slices.Contains(o.peculiar, p) }

// compareUsage compares the usage. A stream reports it only on request, and the
// gateway estimates it if the provider reports none.
func (o officialClient) compareUsage(t *testing.T, do string, got, want *sightUsage) {
	t.Helper()
	switch {
	case do == "stream" && !o.is(usageIsAlways):
		if got != nil {
			t.Errorf("unrequested usage %+v", got)
		}
	case got == nil:
		t.Error("no usage")
	case want == nil:
		if got.Input == 0 || got.Output == 0 || got.Total != got.Input+got.Output {
			t.Errorf("usage %+v, want an estimate", got)
		}
	default:
		meant := *want
		if o.is(totalIsAdded) {
			meant.Total = meant.Input + meant.Output
		}
		if o.is(reasoningIsOutput) || o.is(usageIsSound) {
			// some providers count it in their total only, or cached tokens twice
			meant.Output, meant.Total = want.Total-want.Input, want.Total
			meant.Cached = min(want.Cached, want.Input)
		}
		if o.is(reasoningIsOutput) {
			meant.Reasoning = 0
		}
		wantSeen(t, "usage", *got, meant)
	}
}

func wantSeen(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n got %+v\nwant %+v", what, got, want)
	}
}

// compareCalls compares tool calls. Some clients parse the arguments, which are
// then encoded again, so compare their values.
func compareCalls(t *testing.T, got, want []providertest.ToolCall) {
	t.Helper()
	same := slices.EqualFunc(got, want, func(g, w providertest.ToolCall) bool {
		var read, meant any
		if g.Arguments != w.Arguments && (json.Unmarshal([]byte(g.Arguments), &read) != nil || json.Unmarshal([]byte(w.Arguments), &meant) != nil) {
			return false
		}
		// for dialects without ids, the gateway generates them
		id := g.ID == w.ID || w.ID == "" && g.ID != ""
		return id && g.Name == w.Name && reflect.DeepEqual(read, meant)
	})
	if !same {
		t.Errorf("tool calls\n got %+v\nwant %+v", got, want)
	}
}

// compareError checks the error that a client throws, so that half an answer never
// passes for a whole one.
func (o officialClient) compareError(t *testing.T, c clientCase, got sight) {
	t.Helper()
	want := c.want.Error
	if want == nil || got.Error == nil {
		t.Fatalf("error %+v, want %+v; the client saw %+v", got.Error, want, got)
	}
	if o.api != nil {
		told := o.api(*want)
		want = &told
	}
	g, status := got.Error, want.Status
	if status == whenever && g.Status == http.StatusBadGateway && got.Text == "" && len(got.ToolCalls) == 0 {
		status = g.Status
	} else if status == whenever {
		status = 0
	}
	class := o.broken
	if status != 0 {
		class = o.refused(status)
	}
	if status == 0 && o.is(statusIsMadeUp) {
		status = http.StatusInternalServerError
		if g.Class != "" {
			class = o.refused(status) // it came before the answer
		}
	}
	if g.Class != class || g.Status != status || g.Code != want.Code || g.Message == "" {
		t.Errorf("error %+v, want %s of status %d, code %s", g, class, status, want.Code)
	}
	if (g.RetryAfter != "") != (want.RetryAfter != "") {
		t.Errorf("Retry-After %q, want %q", g.RetryAfter, want.RetryAfter)
	}
	if !strings.HasPrefix(c.want.Text, got.Text) {
		t.Errorf("before the error came %q, want a beginning of %q", got.Text, c.want.Text)
	}
}

// sameJSON reports whether two values are equal but for the order of their members.
func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
