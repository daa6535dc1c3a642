package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// withUsage puts a usage into an event of the upstream's.
func withUsage(event, usage string) string {
	return strings.Replace(event, `"choices"`, `"usage":`+usage+`,"choices"`, 1)
}

func tokens(in, out int) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"x":[1]}`, in, out, in+out)
}

func TestStreamUsage(t *testing.T) {
	up := newFakeProvider(t, silent)
	c := startCaddy(t, gatewayTenants, gatewaySite(up))
	globex := newClient(c, "globex", "ann")

	for _, tc := range []struct {
		name   string
		events []string
	}{
		{"in a chunk of its own", []string{role, content("Hello"), finished, withUsage(strings.Replace(counted, `,"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}`, "", 1), tokens(7, 3)), endMark}},
		{"beside the finish reason", []string{role, content("Hello"), withUsage(finished, tokens(7, 3)), endMark}},
		{"in every chunk", []string{withUsage(role, tokens(7, 0)), withUsage(content("Hello"), tokens(7, 2)), withUsage(finished, tokens(7, 3)), endMark}},
		{"null in every other chunk", []string{withUsage(role, "null"), withUsage(content("Hello"), "null"), withUsage(finished, "null"), withUsage(strings.Replace(counted, `,"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}`, "", 1), tokens(7, 3)), endMark}},
		{"without an end mark", []string{content("Hello"), finished, withUsage(finished, tokens(7, 3))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up.answers(sends(tc.events...))
			a := globex.complete(newQuestion("fast").streamed())
			a.wantWhole(t, "Hello")
			if all := strings.Join(a.frames, "\n"); strings.Contains(all, "usage") || strings.Contains(all, "prompt_tokens") {
				t.Errorf("usage, although nobody asked:\n%s", all)
			}
			a = globex.complete(newQuestion("fast").withUsage())
			a.wantWhole(t, "Hello")
			wantUsageLast(t, a)
			if a.usage.Raw != tokens(7, 3) {
				t.Errorf("usage %s, want the provider's, %s", a.usage.Raw, tokens(7, 3))
			}
			got := globex.say(newSession(), "hi")
			if u := got.done.Usage; u.TokensIn != 7 || u.TokensOut != 3 || u.TotalTokens != 10 || u.Estimated {
				t.Errorf("/chat: %+v", u)
			}
		})
	}

	t.Run("is estimated where there is none", func(t *testing.T) {
		up.answers(sends(content("Hello, wörld"), finished, endMark))
		a := globex.complete(newQuestion("fast").withUsage())
		wantUsageLast(t, a)
		wantEstimate(t, a.usage, 4)
		if u := globex.say(newSession(), "hi").done.Usage; !u.Estimated || u.TokensOut != 4 || u.TokensIn < 1 || u.TotalTokens != u.TokensIn+4 {
			t.Errorf("/chat: %+v", u)
		}
	})
}

// wantUsageLast checks that one chunk, the last before the end mark, has the
// usage, and nothing else.
func wantUsageLast(t testing.TB, a completion) {
	t.Helper()
	last := len(a.frames) - 2
	for i, frame := range a.frames {
		u := gjson.Get(frame, "usage")
		if (i == last) != u.IsObject() {
			t.Errorf("frame %d of %d: %s", i, len(a.frames), frame)
		}
	}
	chunk := gjson.Parse(a.frames[last])
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
	up := newFakeProvider(t, document(http.StatusOK, wholeAnswer))
	c := startCaddy(t, gatewayTenants, gatewaySite(up))
	globex := newClient(c, "globex", "ann")

	t.Run("is the provider's", func(t *testing.T) {
		a := globex.complete(newQuestion("fast"))
		if a.status != http.StatusOK || a.frames[0] != wholeAnswer {
			t.Errorf("%d, %s; want the provider's answer as it is", a.status, a.frames)
		}
	})
	t.Run("is estimated where there is none", func(t *testing.T) {
		without, _, _ := strings.Cut(wholeAnswer, `,"usage"`)
		for _, answer := range []string{without + "}", without + `,"usage":null}`} {
			up.answers(document(http.StatusOK, answer))
			a := globex.complete(newQuestion("fast"))
			if a.Text != "Hello" {
				t.Errorf("%d, %s", a.status, a.frames)
			}
			wantEstimate(t, a.usage, 2)
		}
	})
}
