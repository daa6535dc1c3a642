package openai

import (
	"fmt"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestRefusedAddition checks which refusals are about a member that the client has
// not sent.
func TestRefusedAddition(t *testing.T) {
	const streamed, with = `{"messages":[],"stream":true}`, `{"messages":[],"stream":true,"stream_options":%s}`
	for _, tc := range []struct {
		status     int
		said, body string
		want       string
	}{
		{400, "Unrecognized request argument supplied: stream_options", streamed, "stream_options"},
		{422, "Extra inputs are not permitted, field: 'stream_options'", streamed, "stream_options"},
		{400, "property 'streamOptions' is unsupported", streamed, "stream_options"},
		{400, "extra fields not permitted", streamed, "stream_options"},
		{400, "Extra inputs are not permitted", streamed, "stream_options"},
		{400, "unknown field.", streamed, "stream_options"},
		{400, "Unrecognized request arguments supplied", streamed, "stream_options"},
		{400, "unknown field \"foo\"", streamed, ""},
		{400, "Unrecognized request argument supplied: foo", streamed, ""},
		{400, "invalid value", streamed, ""},
		{400, "", streamed, ""},
		{401, "stream_options", streamed, ""},
		{500, "stream_options", streamed, ""},
		{400, "prompt is too long, stream_options", streamed, ""},
		{400, "unknown: stream_options", fmt.Sprintf(with, `null`), "stream_options"},
		{400, "unknown: stream_options", fmt.Sprintf(with, `{}`), "stream_options"},
		{400, "unknown: stream_options", fmt.Sprintf(with, `{"include_usage":true}`), ""},
		{400, "unknown: include_usage", fmt.Sprintf(with, `{"include_usage":false}`), ""},
		{400, "unknown: stream_options", fmt.Sprintf(with, `{"x":1}`), ""},
		{400, "unknown: include_usage", fmt.Sprintf(with, `{"x":1}`), "stream_options"},
		{400, "streaming is not supported", streamed, ""},
		{400, "streaming is not supported", `{"messages":[]}`, "stream"},
		{400, "'stream' does not support true", `{"messages":[],"stream":false}`, "stream"},
		{400, "unknown: upstream", `{"messages":[]}`, ""},
	} {
		t.Run(tc.said+" "+tc.body, func(t *testing.T) {
			e := provider.NewError(tc.status, []byte(`{"error":{"message":`+string(provider.Encode(tc.said))+`}}`))
			preq := &provider.Request{Body: []byte(tc.body)}
			if got := refusedAddition(e, preq); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if preq.Omit = []string{streamOptions}; tc.want == streamOptions && refusedAddition(e, preq) == streamOptions {
				t.Error("it is refused twice")
			}
		})
	}
}
