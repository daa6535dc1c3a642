package door_test

import (
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/door/messages"
	"github.com/caddy-chat/caddy-chat/modules/door/responses"
)

// TestLinear opens requests of all shapes that a client may make as long as it likes. An
// item must not cost more memory the more of them there are, as it does where what was
// read before is copied for each.
func TestLinear(t *testing.T) {
	var (
		words   = strings.Repeat("word ", 10)
		sealed  = door.Seal(map[string]any{"reasoning_content": words, "thinking_blocks": []any{words}})
		blocks  = door.Seal(map[string]any{"blocks": []any{words}})
		call    = `{"type":"function_call","call_id":"c#","name":"f","arguments":"{}"}`
		aCall   = `{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}`
		toolUse = `{"type":"tool_use","id":"c#","name":"f","input":{}}`
		asks    = `{"role":"user","content":"hi"}`
	)
	opens := func(d door.Door) func([]byte) error {
		return func(body []byte) error {
			_, err := d.Open(body)
			return err
		}
	}
	completes := func(body []byte) error {
		_, _, err := responses.Completion(body)
		return err
	}
	counts := func(body []byte) error {
		_, err := messages.OpenCount(body)
		return err
	}
	for name, tc := range map[string]struct {
		open func(body []byte) error
		body string // what is in <> is repeated, # is its number
	}{
		"responses/unknown_members":    {opens(responses.Door{}), `{"input":"hi"<,"m#":1>}`},
		"responses/include":            {opens(responses.Door{}), `{"input":"hi","include":["a"<,"a#">]}`},
		"responses/user":               {opens(responses.Door{}), `{"input":[` + asks + `<,{"role":"user","content":"` + words + `"}>]}`},
		"responses/user_parts":         {opens(responses.Door{}), `{"input":[{"role":"user","content":[{"type":"input_text","text":"hi"}<,{"type":"input_text","text":"` + words + `"}>]}]}`},
		"responses/system":             {opens(responses.Door{}), `{"instructions":"hi","input":[` + asks + `<,{"role":"system","content":"` + words + `"}>]}`},
		"responses/opening":            {opens(responses.Door{}), `{"instructions":"hi","input":[{"role":"system","content":"hi"}<,{"role":"developer","content":"` + words + `"}>]}`},
		"responses/answers":            {opens(responses.Door{}), `{"input":[` + asks + `<,{"role":"assistant","content":"` + words + `"}>]}`},
		"responses/answers_after_call": {opens(responses.Door{}), `{"input":[` + aCall + `<,{"role":"assistant","content":"` + words + `"}>]}`},
		"responses/refusals":           {opens(responses.Door{}), `{"input":[{"role":"assistant","content":[{"type":"refusal","refusal":"no"}<,{"type":"refusal","refusal":"` + words + `"}>]}]}`},
		"responses/refusals_of_items":  {opens(responses.Door{}), `{"input":[` + aCall + `<,{"role":"assistant","content":[{"type":"refusal","refusal":"` + words + `"}]}>]}`},
		"responses/reasoning":          {opens(responses.Door{}), `{"input":[` + aCall + `<,{"type":"reasoning","summary":[{"type":"summary_text","text":"` + words + `"}]}>]}`},
		"responses/reasoning_parts":    {opens(responses.Door{}), `{"input":[{"type":"reasoning","summary":[{"text":"hm"}<,{"text":"` + words + `"}>]}]}`},
		"responses/reasoning_sealed":   {opens(responses.Door{}), `{"input":[` + aCall + `<,{"type":"reasoning","encrypted_content":"` + sealed + `"}>]}`},
		"responses/calls":              {opens(responses.Door{}), `{"input":[` + asks + `<,` + call + `><,{"type":"function_call_output","call_id":"c#","output":"` + words + `"}>]}`},
		"responses/turns":              {opens(responses.Door{}), `{"input":[` + asks + `<,` + call + `,{"type":"function_call_output","call_id":"c#","output":"` + words + `"}>]}`},
		"responses/images":             {opens(responses.Door{}), `{"input":[` + asks + `<,{"type":"function_call_output","call_id":"c#","output":[{"type":"input_image","image_url":"` + words + `"}]}>]}`},
		"responses/hosted":             {opens(responses.Door{}), `{"input":[` + asks + `<,{"type":"x#_call"}>]}`},
		"responses/tools":              {opens(responses.Door{}), `{"input":"hi","tools":[{"type":"custom","name":"f"}<,{"type":"function","name":"f#","parameters":{}}>]}`},
		"responses/tools_of_one_name":  {opens(responses.Door{}), `{"input":"hi","tools":[{"type":"custom","name":"f"}<,{"type":"namespace","name":"n#","tools":[{"type":"function","name":"f"}]}>]}`},
		"responses/tools_unknown":      {opens(responses.Door{}), `{"input":"hi","tools":[{"type":"x"}<,{"type":"x#"}>]}`},
		"responses/tools_nested":       {opens(responses.Door{}), `{"input":"hi","tools":[{"type":"x"}<,{"type":"namespace","tools":[{"type":"x"}><]}>]}`},
		"responses/tools_among_input":  {opens(responses.Door{}), `{"input":[` + asks + `<,{"type":"additional_tools","tools":[{"type":"function","name":"f#"}]}>]}`},
		"responses/tools_found":        {opens(responses.Door{}), `{"input":[` + asks + `<,{"type":"tool_search_output","execution":"client","call_id":"c#","tools":[{"type":"function","name":"f#"}]}>]}`},
		"responses/tools_found_deep":   {opens(responses.Door{}), `{"input":[{"type":"tool_search_output","execution":"client","call_id":"c","tools":[{"type":"x"}<,{"type":"namespace","tools":[{"type":"x"}><]}>]}]}`},
		"responses/tools_allowed":      {opens(responses.Door{}), `{"input":"hi","tools":[{"type":"custom","name":"f"}<,{"type":"function","name":"f#"}>],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"name":"g"}<,{"name":"g#"}>]}}`},

		"completions/tools_flat": {completes, `{"messages":[` + asks + `],"tools":[{"type":"function","name":"f"}<,{"type":"function","name":"f#"}>]}`},
		"completions/input":      {completes, `{"input":[` + asks + `<,{"role":"assistant","content":"` + words + `"}>],"tools":[{"type":"function","name":"f"}<,{"type":"function","name":"f#"}>]}`},

		"messages/unknown_members":  {opens(messages.Door{}), `{"max_tokens":1,"messages":[` + asks + `]<,"m#":1>}`},
		"messages/user":             {opens(messages.Door{}), `{"max_tokens":1,"messages":[` + asks + `<,{"role":"user","content":"` + words + `"}>]}`},
		"messages/user_blocks":      {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}<,{"type":"text","text":"` + words + `"}>]}]}`},
		"messages/unknown_blocks":   {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}<,{"type":"x#"}>]}]}`},
		"messages/system":           {opens(messages.Door{}), `{"max_tokens":1,"system":[{"type":"text","text":"hi"}<,{"type":"text","text":"` + words + `"}>],"messages":[` + asks + `]}`},
		"messages/system_messages":  {opens(messages.Door{}), `{"max_tokens":1,"messages":[` + asks + `<,{"role":"system","content":"` + words + `"}>]}`},
		"messages/texts":            {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"text","text":"hi"}<,{"type":"text","text":"` + words + `"}>]}]}`},
		"messages/texts_marked":     {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"text","text":"hi"}<,{"type":"text","text":"` + words + `","cache_control":{}}>]}]}`},
		"messages/thinking":         {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"text","text":"hi"}<,{"type":"thinking","thinking":"` + words + `","signature":"s"}>]}]}`},
		"messages/thinking_sealed":  {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"text","text":"hi"}<,{"type":"thinking","thinking":"` + words + `","signature":"` + blocks + `"}>]}]}`},
		"messages/calls":            {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"text","text":"hi"}<,` + toolUse + `>]},{"role":"user","content":[{"type":"text","text":"hi"}<,{"type":"tool_result","tool_use_id":"c#"}>]}]}`},
		"messages/calls_counted":    {counts, `{"messages":[{"role":"assistant","content":[{"type":"text","text":"hi"}<,` + toolUse + `>]},{"role":"user","content":[{"type":"text","text":"hi"}<,{"type":"tool_result","tool_use_id":"c#"}>]}]}`},
		"messages/results_late":     {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"text","text":"hi"}<,` + toolUse + `>]}<,` + asks + `><,{"role":"user","content":[{"type":"tool_result","tool_use_id":"c#"}]}>]}`},
		"messages/results_alone":    {opens(messages.Door{}), `{"max_tokens":1,"messages":[` + asks + `<,{"role":"user","content":[{"type":"tool_result","tool_use_id":"c#"},{"type":"text","text":"` + words + `"}]}>]}`},
		"messages/turns":            {opens(messages.Door{}), `{"max_tokens":1,"messages":[` + asks + `<,{"role":"assistant","content":[` + toolUse + `]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c#"}]}>]}`},
		"messages/result_blocks":    {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"hi"}<,{"type":"text","text":"` + words + `"}>]}]}]}`},
		"messages/document_content": {opens(messages.Door{}), `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"document","title":"t","source":{"type":"content","content":[{"type":"text","text":"hi"}<,{"type":"text","text":"` + words + `"}>]}}]}]}`},
		"messages/stop_sequences":   {opens(messages.Door{}), `{"max_tokens":1,"messages":[` + asks + `],"stop_sequences":["a"<,"a#">]}`},
		"messages/tools":            {opens(messages.Door{}), `{"max_tokens":1,"messages":[` + asks + `],"tools":[{"name":"f","input_schema":{}}<,{"name":"f#","input_schema":{}}>]}`},
		"messages/tools_unknown":    {opens(messages.Door{}), `{"max_tokens":1,"messages":[` + asks + `],"tools":[{"name":"f","input_schema":{}}<,{"type":"x#","name":"x#"}>]}`},
	} {
		t.Run(name, func(t *testing.T) {
			const few, many = 250, 4000
			bytesEach := func(n int) float64 {
				body := repeated(tc.body, n)
				allocated := allocates(func() {
					if err := tc.open(body); err != nil {
						t.Fatalf("%.300s: %v", body, err)
					}
				})
				return float64(allocated) / float64(n)
			}
			// buffers that double may cost twice as much, and half
			if one, all := bytesEach(few), bytesEach(many); all > 4*one {
				t.Errorf("each of %d allocates %.0f bytes, each of %d only %.0f", many, all, few, one)
			}
		})
	}
}

// repeated returns a template with what is in <> n times.
func repeated(template string, n int) []byte {
	var b strings.Builder
	once, rest, _ := strings.Cut(template, "<")
	b.WriteString(once)
	for rest != "" {
		var item string
		item, rest, _ = strings.Cut(rest, ">")
		for i := range n {
			b.WriteString(strings.ReplaceAll(item, "#", strconv.Itoa(i)))
		}
		once, rest, _ = strings.Cut(rest, "<")
		b.WriteString(once)
	}
	return []byte(b.String())
}

// allocates returns how many bytes f allocates.
func allocates(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
