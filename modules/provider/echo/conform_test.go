package echo

import (
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

func TestConform(t *testing.T) {
	p := &Echo{Delay: new(caddy.Duration)}
	for _, tc := range []struct {
		name, body string
		want       providertest.Reply
	}{
		{
			"all", `{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"Grüße,\n wörld 🌍 "}]}`,
			providertest.Reply{Parts: []providertest.Part{{Text: "Grüße,\n wörld 🌍 "}}, Finish: "stop", Usage: &provider.Usage{Input: 5, Output: 3}},
		},
		{
			"limit", `{"messages":[{"role":"user","content":"one two three"}],"max_completion_tokens":2}`,
			providertest.Reply{Parts: []providertest.Part{{Text: "one two"}}, Finish: "length", Usage: &provider.Usage{Input: 3, Output: 2}},
		},
		{
			"nothing", `{"messages":[{"role":"user","content":""}]}`,
			providertest.Reply{Finish: "stop", Usage: new(provider.Usage)},
		},
	} {
		t.Run(tc.name, func(t *testing.T) { providertest.Offline(t, p, tc.body, tc.want) })
	}
}
