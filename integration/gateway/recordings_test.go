package gateway

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// TestRecordings replays recorded answers of real providers through Caddy, and
// compares the result with what each recording expects.
func TestRecordings(t *testing.T) {
	t.Parallel()
	recordings := providertest.Load(t, providertest.Folder(t), "openai")
	replay := providertest.NewReplay(t)
	c := harness.Start(t, "", fmt.Sprintf(`
		tenant_resolve
		chat_session
		ai_gateway {
			provider openai {
				base_url %s/v1
				api_key upstream-key
			}
			model fast {
				to openai/up-1
			}
			retries 0
			rescue off
			circuit_breaker off
		}`, replay.URL))
	cl := harness.NewClient(c, "", "ann")
	for _, rec := range recordings {
		t.Run(rec.Kind+"/"+rec.Name, func(t *testing.T) {
			cl := *cl
			cl.T = t
			r := recordingTest{t: t, rec: rec, replay: replay, client: &cl}
			switch rec.Kind {
			case "stream":
				r.stream()
			case "plain":
				r.plain()
			case "error":
				r.refused()
			default:
				t.Fatalf("unknown kind %q", rec.Kind)
			}
		})
	}
}

type recordingTest struct {
	t      testing.TB
	rec    providertest.Recording
	replay *providertest.Replay
	client *harness.Client
}

func (r recordingTest) stream() {
	for _, manner := range []providertest.Manner{providertest.Whole, providertest.Bytes} {
		r.replay.Play(r.rec, manner)
		a := r.client.Complete(harness.NewQuestion("fast").WithUsage())
		r.rec.Check(r.t, a.Recorded())
		if len(r.rec.Expected.Errors) > 0 {
			r.brokenOff(a)
			continue
		}
		r.chat(a)
	}
	for _, at := range sseBoundaries(r.rec.Body) {
		r.cut(at)
	}
}

// chat asks the same under /chat, and checks what is stored.
func (r recordingTest) chat(a harness.Completion) {
	r.t.Helper()
	session := harness.NewSession()
	got := r.client.Say(session, "hi")
	want := r.rec.Expected.Text + r.rec.Expected.Refusal
	if got.Text != want || got.Failed != nil || got.Done == nil {
		r.t.Fatalf("/chat: error %+v, done %+v, text\n got %q\nwant %q", got.Failed, got.Done, got.Text, want)
	}
	if finish := cmp.Or(r.rec.Expected.Finish, "stop"); got.Done.FinishReason != finish {
		r.t.Errorf("/chat: finish reason %q, want %q", got.Done.FinishReason, finish)
	}
	r.counted(got.Done.Usage, a.Counted)
	r.stored(session, want, "complete")
}

// counted compares the usage under /chat with the provider's.
func (r recordingTest) counted(u harness.Usage, want *provider.Usage) {
	r.t.Helper()
	if u.Estimated != (want == nil) {
		r.t.Errorf("/chat: usage %+v, the provider counted %+v", u, want)
	}
	if want != nil && (u.TokensIn != want.Input || u.TokensOut != want.Output || u.TotalTokens != want.Input+want.Output) {
		r.t.Errorf("/chat: usage %+v, want %+v", u, want)
	}
}

func (r recordingTest) stored(session, text, status string) {
	r.t.Helper()
	msgs := r.client.History(session)
	if len(msgs) != 2 || msgs[1].Role != "assistant" || msgs[1].Content != text || msgs[1].Status != status {
		r.t.Errorf("stored %+v, want an answer with status %s: %q", msgs, status, text)
	}
}

// brokenOff checks an answer in which the provider reported an error: it must not
// look complete, and the provider's message must not reach the client.
func (r recordingTest) brokenOff(a harness.Completion) {
	r.t.Helper()
	a.WantCut(r.t, r.rec.Expected.Text, "ai_error")
	session := harness.NewSession()
	got := r.client.Say(session, "hi")
	if got.Text != r.rec.Expected.Text || got.Failed == nil || got.Failed.Code != "ai_error" || got.Done == nil || got.Done.FinishReason != "error" {
		r.t.Errorf("/chat: text %q, error %+v, done %+v", got.Text, got.Failed, got.Done)
	}
	r.stored(session, r.rec.Expected.Text, "partial")
	for _, e := range r.rec.Expected.Errors {
		said := gjson.GetBytes(e, "error.message").Str
		if said == "" {
			r.t.Fatalf("the recording's error has no message: %s", e)
		}
		if strings.Contains(strings.Join(a.Frames, "\n"), said) || got.Failed != nil && strings.Contains(got.Failed.Data, said) {
			r.t.Errorf("the provider's message reached the client: %q", said)
		}
	}
}

// cut ends the answer early, after an event.
func (r recordingTest) cut(at int) {
	r.t.Helper()
	body := r.rec.Body[:at]
	text, begun, whole, failed := readRecorded(body)
	if failed {
		return // brokenOff
	}
	r.replay.Answer(r.rec.Response.Status, r.rec.Response.Headers, body, providertest.Whole)
	a := r.client.Complete(harness.NewQuestion("fast").Streamed())
	session := harness.NewSession()
	resp := r.client.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hi"})
	switch {
	case whole:
		if a.Text+a.Refusal != text || !a.Done || a.Code != "" {
			r.t.Errorf("complete, although cut after %d bytes: text %q, end mark %v, error %q; want %q", at, a.Text, a.Done, a.Code, text)
		}
		got := harness.ReadEvents(r.t, resp).Rest()
		if got.Text != text || got.Failed != nil || got.Done == nil {
			r.t.Errorf("complete, although cut after %d bytes: /chat: text %q, error %+v, done %+v; want %q", at, got.Text, got.Failed, got.Done, text)
		}
		r.stored(session, text, "complete")
		return
	case begun:
		a.Text += a.Refusal
		a.WantCut(r.t, text, "ai_error")
	default:
		a.WantRefused(r.t, http.StatusBadGateway, "ai_error")
	}
	if text == "" {
		harness.WantFailure(r.t, resp, http.StatusBadGateway, "ai_error")
		return
	}
	got := harness.ReadEvents(r.t, resp).Rest()
	if got.Text != text || got.Failed == nil || got.Failed.Code != "ai_error" || got.Done == nil || got.Done.FinishReason != "error" {
		r.t.Errorf("cut after %d bytes: /chat: text %q, error %+v, done %+v; want %q", at, got.Text, got.Failed, got.Done, text)
	}
	r.stored(session, text, "partial")
}

// readRecorded reads the beginning of a recorded stream: its text, whether it has
// content, whether it is complete, and whether it reports an error.
func readRecorded(body []byte) (text string, begun, whole, failed bool) {
	dec := sse.NewDecoder(bytes.NewReader(body), 0)
	for {
		ev, err := dec.Next()
		if err != nil {
			return text, begun, whole, failed
		}
		if string(ev.Data) == "[DONE]" {
			whole = true
			continue
		}
		if f, ok := provider.ParseChunk(ev.Data); ok {
			text += f.Text
			begun = begun || f.Content
			whole = whole || f.FinishReason != ""
		}
		failed = failed || gjson.GetBytes(ev.Data, "error").IsObject()
	}
}

// sseBoundaries returns the beginning of an event stream and the offsets at which
// its events end. If there are hundreds, it returns the first and last of them,
// and every twentieth between.
func sseBoundaries(body []byte) []int {
	all := []int{0}
	for i := 1; i < len(body); i++ {
		if body[i] == '\n' && (body[i-1] == '\n' || bytes.HasSuffix(body[:i], []byte("\n\r"))) {
			all = append(all, i+1)
		}
	}
	const edge = 50
	if len(all) <= 4*edge {
		return all
	}
	some := all[:edge:edge]
	for i := edge; i < len(all)-edge; i += 20 {
		some = append(some, all[i])
	}
	return append(some, all[len(all)-edge:]...)
}

func (r recordingTest) plain() {
	for _, manner := range []providertest.Manner{providertest.Whole, providertest.Bytes} {
		r.replay.Play(r.rec, manner)
		a := r.client.Complete(harness.NewQuestion("fast"))
		r.rec.Check(r.t, a.Recorded())

		session := harness.NewSession()
		var doc struct {
			Data struct {
				Message      string        `json:"message"`
				FinishReason string        `json:"finishReason"`
				Usage        harness.Usage `json:"usage"`
			} `json:"data"`
		}
		status := r.client.Call(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "hi", Stream: new(false)}, &doc)
		want := r.rec.Expected.Text + r.rec.Expected.Refusal
		// without a reason from the provider, it is stop
		finish := cmp.Or(r.rec.Expected.Finish, "stop")
		if status != http.StatusOK || doc.Data.Message != want || doc.Data.FinishReason != finish {
			r.t.Errorf("/chat: %d, %+v; want %q, %s", status, doc.Data, want, finish)
		}
		r.counted(doc.Data.Usage, a.Counted)
		r.stored(session, want, "complete")
	}
}

func (r recordingTest) refused() {
	status, code := http.StatusBadGateway, "ai_error"
	switch r.rec.Response.Status {
	case http.StatusBadRequest:
		status, code = http.StatusBadRequest, "invalid_request"
	case http.StatusTooManyRequests:
		status, code = http.StatusTooManyRequests, "provider_rate_limited"
	}
	said, _, _, ok := provider.ErrorOf(r.rec.Body)
	told := code
	if status == http.StatusBadRequest {
		told = cmp.Or(gjson.GetBytes(r.rec.Body, "error.code").Str, code)
		if strings.Contains(said, "maximum context length") {
			told = "context_length_exceeded"
		}
	}
	if !ok {
		r.t.Fatalf("the recording has no error: %s", r.rec.Body)
	}
	r.replay.Play(r.rec, providertest.Whole)
	for _, stream := range []bool{true, false} {
		q := harness.NewQuestion("fast")
		q.Stream = stream
		a := r.client.Complete(q)
		a.WantRefused(r.t, status, told)
		f := harness.WantFailure(r.t, r.client.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", Stream: &stream}), status, code)
		for _, told := range []string{a.Error, f.Error.Message} {
			if passedOn := told == provider.Redact(said); passedOn != (status == http.StatusBadRequest) {
				r.t.Errorf("the client got %q, the provider sent %q", told, said)
			}
		}
	}
}
