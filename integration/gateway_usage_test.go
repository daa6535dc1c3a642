package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// WithUsage puts a usage into an event of the upstream's.
func WithUsage(event, usage string) string {
	return strings.Replace(event, `"choices"`, `"usage":`+usage+`,"choices"`, 1)
}

func UsageOf(in, out int) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"x":[1]}`, in, out, in+out)
}

func TestStreamUsage(t *testing.T) {
	up := NewFakeProvider(t, Silent)
	c := Start(t, GatewayTenants, GatewaySite(up))
	globex := NewClient(c, "globex", "ann")

	for _, tc := range []struct {
		name   string
		events []string
	}{
		{"in a chunk of its own", []string{Role, Content("Hello"), Finished, WithUsage(strings.Replace(Counted, `,"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}`, "", 1), UsageOf(7, 3)), EndMark}},
		{"beside the finish reason", []string{Role, Content("Hello"), WithUsage(Finished, UsageOf(7, 3)), EndMark}},
		{"in every chunk", []string{WithUsage(Role, UsageOf(7, 0)), WithUsage(Content("Hello"), UsageOf(7, 2)), WithUsage(Finished, UsageOf(7, 3)), EndMark}},
		{"null in every other chunk", []string{WithUsage(Role, "null"), WithUsage(Content("Hello"), "null"), WithUsage(Finished, "null"), WithUsage(strings.Replace(Counted, `,"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}`, "", 1), UsageOf(7, 3)), EndMark}},
		{"without an end mark", []string{Content("Hello"), Finished, WithUsage(Finished, UsageOf(7, 3))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up.Answers(Sends(tc.events...))
			a := globex.Complete(NewQuestion("fast").Streamed())
			a.WantWhole(t, "Hello")
			if all := strings.Join(a.Frames, "\n"); strings.Contains(all, "usage") || strings.Contains(all, "prompt_tokens") {
				t.Errorf("usage, although nobody asked:\n%s", all)
			}
			a = globex.Complete(NewQuestion("fast").WithUsage())
			a.WantWhole(t, "Hello")
			wantUsageLast(t, a)
			if a.Usage.Raw != UsageOf(7, 3) {
				t.Errorf("usage %s, want the provider's, %s", a.Usage.Raw, UsageOf(7, 3))
			}
			got := globex.Say(NewSession(), "hi")
			if u := got.Done.Usage; u.TokensIn != 7 || u.TokensOut != 3 || u.TotalTokens != 10 || u.Estimated {
				t.Errorf("/chat: %+v", u)
			}
		})
	}

	t.Run("is estimated where there is none", func(t *testing.T) {
		up.Answers(Sends(Content("Hello, wörld"), Finished, EndMark))
		a := globex.Complete(NewQuestion("fast").WithUsage())
		wantUsageLast(t, a)
		wantEstimate(t, a.Usage, 4)
		if u := globex.Say(NewSession(), "hi").Done.Usage; !u.Estimated || u.TokensOut != 4 || u.TokensIn < 1 || u.TotalTokens != u.TokensIn+4 {
			t.Errorf("/chat: %+v", u)
		}
	})
}

// wantUsageLast checks that one chunk, the last before the end mark, has the
// usage, and nothing else.
func wantUsageLast(t testing.TB, a Completion) {
	t.Helper()
	last := len(a.Frames) - 2
	for i, frame := range a.Frames {
		u := gjson.Get(frame, "usage")
		if (i == last) != u.IsObject() {
			t.Errorf("frame %d of %d: %s", i, len(a.Frames), frame)
		}
	}
	chunk := gjson.Parse(a.Frames[last])
	if choices := chunk.Get("choices"); choices.Raw != "[]" || chunk.Get("id").Str != "c-1" || chunk.Get("model").Str != "up-1" {
		t.Errorf("the usage comes in %s", chunk)
	}
}

func wantEstimate(t testing.TB, u gjson.Result, out int64) {
	t.Helper()
	in := u.Get("prompt_tokens").Int()
	if !u.Get("estimated").Bool() || in < 1 || u.Get("completion_tokens").Int() != out || u.Get("total_tokens").Int() != in+out {
		t.Errorf("usage %s, want an estimate of %d tokens out", u, out)
	}
}

func TestWholeUsage(t *testing.T) {
	up := NewFakeProvider(t, Document(http.StatusOK, WholeAnswer))
	c := Start(t, GatewayTenants, GatewaySite(up))
	globex := NewClient(c, "globex", "ann")

	t.Run("is the provider's", func(t *testing.T) {
		a := globex.Complete(NewQuestion("fast"))
		if a.Status != http.StatusOK || a.Frames[0] != WholeAnswer {
			t.Errorf("%d, %s; want the provider's answer as it is", a.Status, a.Frames)
		}
	})
	t.Run("is estimated where there is none", func(t *testing.T) {
		without, _, _ := strings.Cut(WholeAnswer, `,"usage"`)
		for _, answer := range []string{without + "}", without + `,"usage":null}`} {
			up.Answers(Document(http.StatusOK, answer))
			a := globex.Complete(NewQuestion("fast"))
			if a.Text != "Hello" {
				t.Errorf("%d, %s", a.Status, a.Frames)
			}
			wantEstimate(t, a.Usage, 2)
		}
	})
}
