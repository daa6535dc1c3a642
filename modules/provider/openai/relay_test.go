package openai

import (
	"errors"
	"io"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

func TestRelay(t *testing.T) {
	replay := providertest.NewReplay(t)
	p := newProvider(t, replay.URL).(provider.Relayer)
	preq := &provider.Request{Model: "tts-1", Body: []byte(`{ "input":"a", "model":"alias","x":1.50}`)}

	replay.Answer(200, map[string][]string{"Content-Type": {"audio/mpeg"}}, []byte("\x00\x01binary\n"), providertest.Bytes)
	a, err := p.Relay(t.Context(), preq, "/audio/speech")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if got, err := io.ReadAll(a.Body); err != nil || string(got) != "\x00\x01binary\n" || a.ContentType != "audio/mpeg" {
		t.Errorf("got %q of type %q, %v", got, a.ContentType, err)
	}
	requests, bodies := replay.Requests()
	if requests[0].URL.Path != "/v1/audio/speech" || requests[0].Header.Get("Authorization") != "Bearer key-1" {
		t.Errorf("called %s with %q", requests[0].URL.Path, requests[0].Header.Get("Authorization"))
	}
	if want := `{ "input":"a", "model":"tts-1","x":1.50}`; string(bodies[0]) != want {
		t.Errorf("sent %s, want %s", bodies[0], want)
	}

	azure := providertest.Provisioned(t, &OpenAI{Upstream: upstream.Upstream{BaseURL: replay.URL}, Azure: new(Azure)})
	_, err = azure.Relay(t.Context(), preq, "/rerank")
	if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != provider.ReasonUnsupported {
		t.Errorf("got %v, want that it is not supported", err)
	}
}
