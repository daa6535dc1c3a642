package clients

import (
	"bytes"
	"cmp"
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// toolResult is what every tool of the clients returns.
const toolResult = "21 degrees, says the tool"

// clientCases returns everything the clients do, and what they should see.
func clientCases(t *testing.T, up *replays) []clientCase {
	t.Helper()
	var cases []clientCase
	for _, p := range clientProviders {
		recordings := p.recordings(t)
		b := caseBuilder{t: t, up: up, provider: p, spoken: spoken(t, recordings)}
		for _, rec := range recordings {
			b.add(rec)
		}
		b.abort()
		b.embed()
		cases = append(cases, b.cases...)
	}
	b := caseBuilder{t: t, up: up, provider: clientProviders[0]}
	b.odd()
	b.refusals()
	return append(cases, b.cases...)
}

// recordings returns the answers that a provider replays.
func (p clientProvider) recordings(t *testing.T) []providertest.Recording {
	t.Helper()
	var all []providertest.Recording
	if p.made != nil {
		all = p.made(t)
	}
	if p.shape == "" {
		return all
	}
	for _, rec := range providertest.Load(t, providertest.Folder(t), p.shape) {
		if strings.HasPrefix(rec.Name, p.only) {
			all = append(all, rec)
		}
	}
	return all
}

// caseBuilder makes the cases of one provider.
type caseBuilder struct {
	t        *testing.T
	up       *replays
	provider clientProvider
	spoken   providertest.Recording // an answer of text only
	cases    []clientCase
}

// spoken finds the recorded stream with the longest text and nothing else.
func spoken(t *testing.T, recordings []providertest.Recording) providertest.Recording {
	t.Helper()
	var found providertest.Recording
	longest := 0
	for _, rec := range recordings {
		if rec.Kind != "stream" || len(rec.Expected.Errors) > 0 || len(rec.Expected.ToolCalls) > 0 {
			continue
		}
		if n := len(rec.Expected.Text); n > longest {
			found, longest = rec, n
		}
	}
	if longest == 0 {
		t.Fatal("no recorded stream has text")
	}
	return found
}

// stage makes a recording the answer of a new model.
func (b *caseBuilder) stage(name string, rec providertest.Recording, manner providertest.Manner) (string, *play) {
	name = b.provider.name + "." + name
	return b.provider.name + "/" + name, b.up.play(name, rec, manner)
}

func (b *caseBuilder) making(name, do, model string, want sight) clientCase {
	return clientCase{
		Name:  path.Join(b.provider.name, name, do),
		Do:    do,
		Model: model,
		Key:   "acme-client-key",
		want:  want,
	}
}

// add makes the cases of a recording.
func (b *caseBuilder) add(rec providertest.Recording) {
	b.t.Helper()
	model, _ := b.stage(rec.Name, rec, providertest.Whole)
	switch rec.Kind {
	case "error":
		want := sight{Error: refusedAs(rec)}
		for _, do := range []string{"chat", "stream"} {
			b.cases = append(b.cases, b.making(rec.Name, do, model, want))
		}
	case "plain":
		b.cases = append(b.cases, b.heard(rec, "chat", model))
	case "stream":
		b.cases = append(b.cases, b.heard(rec, "stream", model), b.heard(rec, "counted", model))
		b.cut(rec)
		if len(rec.Expected.ToolCalls) > 0 {
			b.tools(rec)
		}
	default:
		b.t.Fatalf("%s has the unknown kind %q", rec.Name, rec.Kind)
	}
}

// translatedCodes are the codes of the recorded refusals that have them elsewhere
// than in OpenAI's error.code, or not at all.
var translatedCodes = map[string]string{
	"anthropic-e400-5":  "context_length_exceeded",
	"openrouter-e400-3": "context_length_exceeded",
	"vertex-e400-1":     "INVALID_ARGUMENT",
}

// refusedAs returns the error that a client sees for a provider's refusal.
func refusedAs(rec providertest.Recording) *sightError {
	status := rec.Response.Status
	if bytes.Contains(rec.Body, []byte("API_KEY_INVALID")) {
		status = http.StatusUnauthorized // Google sends 400
	}
	switch status {
	case http.StatusBadRequest:
		code := cmp.Or(translatedCodes[path.Base(rec.Name)], gjson.GetBytes(rec.Body, "error.code").Str, "invalid_request")
		return &sightError{Status: status, Code: code}
	case http.StatusNotFound:
		return &sightError{Status: status, Code: "model_unknown"}
	case http.StatusTooManyRequests:
		return &sightError{Status: status, Code: "provider_rate_limited", RetryAfter: "1"}
	}
	return &sightError{Status: http.StatusBadGateway, Code: "ai_error"}
}

// heard is the case of a complete answer.
func (b *caseBuilder) heard(rec providertest.Recording, do, model string) clientCase {
	c := b.making(rec.Name, do, model, sightOf(rec))
	for _, call := range rec.Expected.ToolCalls {
		c.Tools = append(c.Tools, call.Name)
	}
	return c
}

// sightOf returns what a client should see of a recording.
func sightOf(rec providertest.Recording) sight {
	e := rec.Expected
	s := sight{Text: e.Text, Reasoning: e.Reasoning, Refusal: e.Refusal, ToolCalls: e.ToolCalls, Finish: e.Finish}
	if len(e.Errors) > 0 {
		s.Error = &sightError{Code: "ai_error"}
	}
	if s.Finish == "" {
		s.Finish = "stop"
	}
	if u := e.Usage; u != nil {
		s.Usage = &sightUsage{
			Input:     u.Prompt,
			Output:    u.Completion,
			Total:     u.Total,
			Cached:    u.PromptDetails.Cached,
			Reasoning: u.OutputDetails.Reasoning,
		}
	}
	return s
}

// cut adds the recording without its second half, and without its end.
func (b *caseBuilder) cut(rec providertest.Recording) {
	want := sightOf(rec)
	want.Error = &sightError{Status: whenever, Code: "ai_error"}
	rec.Body = beginning(rec.Body)
	if bytes.Contains(rec.Body, []byte(`"error":`)) {
		return // the provider cut it
	}
	model, _ := b.stage(rec.Name+"~cut", rec, providertest.Whole)
	b.cases = append(b.cases, b.making(rec.Name+"~cut", "stream", model, want))
}

// ending matches what ends a stream, in all dialects.
var ending = regexp.MustCompile(`"(finish_reason|stop_reason|finishReason|done_reason)": ?"|"done":true|messageStop|\[DONE\]`)

// beginning returns the first half of a stream, or less if the end comes earlier.
func beginning(body []byte) []byte {
	half := body[:len(body)/2]
	if at := ending.FindIndex(half); at != nil {
		half = half[:at[0]]
	}
	if bytes.IndexByte(body, '\n') < 0 {
		return half // not a dialect of lines
	}
	return half[:bytes.LastIndexByte(half, '\n')+1]
}

// tools adds tool calls whose results the client sends back.
func (b *caseBuilder) tools(rec providertest.Recording) {
	model, play := b.stage(rec.Name+"~tools", rec, providertest.Whole)
	play.thenPlay(b.spoken)
	c := b.heard(rec, "tools", model)
	said := sightOf(b.spoken)
	c.want.Text, c.want.Finish = said.Text, said.Finish
	c.want.Ran = len(c.want.ToolCalls)
	c.play = play
	b.cases = append(b.cases, c)
}

// abort adds a stream that the client leaves.
func (b *caseBuilder) abort() {
	rec := b.spoken
	rec.Body = beginning(rec.Body)
	model, play := b.stage("~abort", rec, providertest.Hang)
	c := b.making("", "abort", model, sightOf(b.spoken))
	c.play = play
	b.cases = append(b.cases, c)
}

// embed adds a request for embeddings.
func (b *caseBuilder) embed() {
	if b.provider.vectors == "" {
		return
	}
	model, _ := b.stage("vectors", played("application/json", b.provider.vectors), providertest.Whole)
	c := b.making("", "embed", model, sight{Vectors: clientVectors})
	c.Input = []string{"one", "two"}
	b.cases = append(b.cases, c)
}

// odd adds endings that no recording has.
func (b *caseBuilder) odd() {
	stream := func(name string, want sight, events ...string) {
		model, _ := b.stage(name, played("text/event-stream", events...), providertest.Whole)
		b.cases = append(b.cases, b.making(name, "stream", model, want))
		want.Usage = &sightUsage{Input: 7, Output: 3, Total: 10}
		b.cases = append(b.cases, b.making(name, "counted", model, want))
	}
	finish := func(reason string) string { return strings.Replace(harness.Finished, `"stop"`, `"`+reason+`"`, 1) }
	stream("refusal", sight{Refusal: "I cannot help with that.", Finish: "stop"},
		harness.Role, harness.Delta(`{"refusal":"I cannot "}`), harness.Delta(`{"refusal":"help with that."}`), harness.Finished, harness.Counted, harness.EndMark)
	stream("filtered", sight{Text: "Once upon", Finish: "content_filter"},
		harness.Role, harness.Content("Once"), harness.Content(" upon"), finish("content_filter"), harness.Counted, harness.EndMark)
	model, _ := b.stage("keyed", played("text/event-stream", harness.Role, harness.Content("Once"), finish("stop"), harness.Counted, harness.EndMark), providertest.Whole)
	keyed := b.making("keyed", "counted", model, sight{Text: "Once", Finish: "stop", Usage: &sightUsage{Input: 7, Output: 3, Total: 10}})
	keyed.Keyed = true
	b.cases = append(b.cases, keyed)
	stream("length", sight{Text: "Once", Finish: "length"},
		harness.Role, harness.Content("Once"), finish("length"), harness.Counted, harness.EndMark)
}

// refusals adds requests that the gateway itself refuses.
func (b *caseBuilder) refusals() {
	b.stage("fast", played("application/json", harness.WholeAnswer), providertest.Whole)
	broken := played("application/json", `{"error":{"message":"down"}}`)
	broken.Response.Status = http.StatusServiceUnavailable
	b.stage("broken", broken, providertest.Whole)
	hello := sight{Text: "Hello", Finish: "stop", Usage: &sightUsage{Input: 7, Output: 3, Total: 10}}

	refuse := func(name, do, key, model string, status int, code string) {
		c := b.making(name, do, model, sight{Error: &sightError{Status: status, Code: code}})
		c.Key = key
		if status == http.StatusTooManyRequests {
			c.want.Error.RetryAfter = "1"
		}
		b.cases = append(b.cases, c)
	}
	for _, do := range []string{"chat", "stream", "models"} {
		refuse("wrong key", do, "unknown-key", "fast", http.StatusUnauthorized, "invalid_api_key")
	}
	for _, do := range []string{"chat", "stream"} {
		refuse("unknown model", do, "acme-client-key", "unknown", http.StatusNotFound, "model_unknown")
		refuse("not on the list", do, "listed-client-key", "openai/openai.fast", http.StatusForbidden, "model_not_allowed")
	}
	refuse("limited", "again", "limited-client-key", "fast", http.StatusTooManyRequests, "rate_limited")

	refuse("poor", "again", "poor-client-key", "fast", http.StatusTooManyRequests, "budget_exceeded")
	b.cases[len(b.cases)-1].own = true

	// openCircuit has opened the circuit
	for _, do := range []string{"chat", "stream"} {
		refuse("broken", do, "acme-client-key", "broken", http.StatusServiceUnavailable, "ai_unavailable")
		c := &b.cases[len(b.cases)-1]
		c.below, c.want.Error.RetryAfter = "/broken", "3600"
	}

	// only a client that waits for Retry-After succeeds
	patient := b.making("", "patient", "fast", hello)
	patient.Key, patient.Retries = "waiting-client-key", 1
	list := b.making("list", "models", "", sight{Models: []string{"fast"}})
	b.cases = append(b.cases, patient, list, b.making("fast", "chat", "fast", hello))
}
