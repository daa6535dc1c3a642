package responses

import (
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/door"
)

func TestUnsealed(t *testing.T) {
	sealed := `{"type":"reasoning","summary":[],"encrypted_content":"` + door.Seal(thoughts{Text: "deep"}) + `"}`
	const own, hi = `{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"c2VhbGVk"}`, `{ "role":"user","content":"hi"}`
	for in, want := range map[string]string{
		sealed + "," + hi:             hi,
		hi + "," + own + "," + sealed: hi + "," + own,
		sealed:                        "",
		`{"type":"new","x":"` + door.Seal(thoughts{}) + `"},` + hi: "",
	} {
		const begin, end = `{"x" : 1,"input":[`, `],"y":[ ]}`
		got, dropped, ok := Door{}.Unsealed([]byte(begin + in + end))
		if ok != (want != "") || ok && (string(got) != begin+want+end || !slices.Equal(dropped, []string{"input.reasoning"})) {
			t.Errorf("%v, dropped %q, got %s", ok, dropped, got)
		}
	}
}
