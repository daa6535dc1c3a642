package providertest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Run replays recordings to a provider: whole, in small pieces, and cut after
// every event. newProvider makes a provider whose API is at baseURL.
func Run(t *testing.T, newProvider func(t *testing.T, baseURL string) provider.Provider, recordings []Recording) {
	replay := NewReplay(t)
	p := newProvider(t, replay.URL)
	for _, rec := range recordings {
		t.Run(rec.Name, func(t *testing.T) {
			switch rec.Kind {
			case "stream":
				runStream(t, replay, p, rec)
			case "plain":
				for _, manner := range [...]Manner{Whole, Bytes} {
					replay.Play(rec, manner)
					rec.Check(t, Complete(t.Context(), t, p))
				}
			case "error":
				runError(t, replay, p, rec)
			default:
				t.Fatalf("unknown kind %q", rec.Kind)
			}
		})
	}
}

// Play makes a recording the answer.
func (r *Replay) Play(rec Recording, manner Manner) {
	r.Answer(rec.Response.Status, rec.Response.Headers, rec.Body, manner)
}

func runStream(t *testing.T, replay *Replay, p provider.Provider, rec Recording) {
	for _, manner := range [...]Manner{Whole, Bytes} {
		replay.Play(rec, manner)
		rec.Check(t, Stream(t.Context(), t, p))
	}
	for _, manner := range [...]Manner{Whole, Reset} {
		for _, at := range boundaries(rec.Body, rec.Shape == "ollama") {
			replay.Answer(rec.Response.Status, rec.Response.Headers, rec.Body[:at], manner)
			rec.checkCut(t, Stream(t.Context(), t, p), at, manner)
		}
	}
}

func runError(t *testing.T, replay *Replay, p provider.Provider, rec Recording) {
	calls := map[string]func(context.Context, testing.TB, provider.Provider) Answer{
		"Stream":   Stream,
		"Complete": Complete,
	}
	for name, call := range calls {
		replay.Play(rec, Whole)
		err := call(t.Context(), t, p).Err
		perr, ok := errors.AsType[*provider.Error](err)
		if !ok {
			t.Fatalf("%s: got %v, want a *provider.Error", name, err)
		}
		if perr.Status != rec.Response.Status {
			t.Errorf("%s: status %d, want %d", name, perr.Status, rec.Response.Status)
		}
		if perr.Message == "" {
			t.Errorf("%s: the provider's message is lost", name)
		}
		if want := rec.reasons(); !slices.Contains(want, perr.Reason) {
			t.Errorf("%s: reason %d of status %d, want one of %d", name, perr.Reason, perr.Status, want)
		}
	}
}

func (rec Recording) reasons() []provider.Reason {
	switch status := rec.Response.Status; {
	case strings.Contains(string(rec.Body), `"API_KEY_INVALID"`):
		return []provider.Reason{provider.ReasonCredentials}
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return []provider.Reason{provider.ReasonCredentials}
	case status == http.StatusNotFound:
		return []provider.Reason{provider.ReasonModel}
	case status == http.StatusTooManyRequests:
		return []provider.Reason{provider.ReasonRateLimited}
	case status >= 500:
		return []provider.Reason{provider.ReasonUnavailable}
	}
	return []provider.Reason{provider.ReasonInvalid, provider.ReasonContextLength, provider.ReasonContentFiltered}
}

// Check compares an answer with the recording's known content.
func (rec Recording) Check(t testing.TB, got Answer) {
	t.Helper()
	want := rec.Expected
	if len(want.Errors) > 0 {
		if _, ok := errors.AsType[*provider.Error](got.Err); !ok {
			t.Errorf("ended with %v, want the provider's error", got.Err)
		}
	} else if got.Err != nil {
		t.Fatalf("failed: %v", got.Err)
	}
	// A refusal is visible text, which the recordings keep separate.
	if text := want.Text + want.Refusal; got.Text != text {
		t.Errorf("text\n got %q\nwant %q", got.Text, text)
	}
	if got.Refusal != want.Refusal {
		t.Errorf("refusal\n got %q\nwant %q", got.Refusal, want.Refusal)
	}
	if got.Reasoning != want.Reasoning {
		t.Errorf("reasoning\n got %q\nwant %q", got.Reasoning, want.Reasoning)
	}
	if !slices.EqualFunc(got.ToolCalls, want.ToolCalls, rec.sameCall) {
		t.Errorf("tool calls\n got %+v\nwant %+v", got.ToolCalls, want.ToolCalls)
	}
	if got.Finish != want.Finish {
		t.Errorf("finish reason %q, want %q", got.Finish, want.Finish)
	}
	produced := len(want.Text) + len(want.Refusal) + len(want.Reasoning)
	for _, c := range want.ToolCalls {
		produced += len(c.Name) + len(c.Arguments)
	}
	// The expectation does not have reasoning that only comes in details.
	if detailed := strings.Contains(string(rec.Body), `"reasoning_details"`); got.OutputBytes < produced || got.OutputBytes > produced && !detailed {
		t.Errorf("%d bytes of output, want %d", got.OutputBytes, produced)
	}
	if got.Content != (produced > 0) {
		t.Errorf("Content is %v with %d bytes of output", got.Content, produced)
	}
	want.Usage.check(t, got.Counted)
}

// sameCall compares tool calls. If a dialect has no ids, any id will do.
func (rec Recording) sameCall(got, want ToolCall) bool {
	if want.ID == "" && got.ID != "" && rec.Shape != "openai" {
		got.ID = ""
	}
	return got == want
}

func (u *Usage) check(t testing.TB, got *provider.Usage) {
	t.Helper()
	if u == nil || got == nil {
		if (u == nil) != (got == nil) {
			t.Errorf("usage %+v, want %+v", got, u)
		}
		return
	}
	want := provider.Usage{
		Input:     u.Prompt,
		Output:    u.Completion,
		Cached:    min(max(u.CacheHit, u.PromptDetails.Cached), u.Prompt),
		Written:   max(u.CacheWrite, u.PromptDetails.Written),
		Reasoning: u.OutputDetails.Reasoning,
	}
	if u.Total == want.Input+want.Output+want.Reasoning {
		want.Output += want.Reasoning
	}
	want.Reasoning = min(want.Reasoning, want.Output)
	if *got != want {
		t.Errorf("usage %+v, want %+v", *got, want)
	}
}

// checkCut compares the result of an answer that was cut after at bytes.
func (rec Recording) checkCut(t testing.TB, got Answer, at int, manner Manner) {
	t.Helper()
	want := rec.Expected
	if text := want.Text + want.Refusal; !strings.HasPrefix(text, got.Text) {
		t.Errorf("cut after %d bytes: text %q is no beginning of %q", at, got.Text, text)
	}
	if len(want.Errors) > 0 && at == len(rec.Body) {
		return
	}
	marked := strings.Contains(string(rec.Body[:at]), "[DONE]")
	if marked && manner == Reset && got.Finish == "" {
		// A connection reset discards what was not read yet.
		return
	}
	switch finished := got.Finish != "" || marked; {
	case finished && got.Err != nil:
		t.Errorf("cut after %d bytes: failed although it was finished: %v", at, got.Err)
	case !finished && !errors.Is(got.Err, provider.ErrCut):
		t.Errorf("cut after %d bytes: ended with %v, want ErrCut", at, got.Err)
	}
}
