package providertest

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// StrictResponses is a server of OpenAI's Responses that refuses what OpenAI refuses of a
// request whose store is false. It answers with reasoning, and a call of the first
// function if the last word is the user's.
func StrictResponses(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if refused := RefuseResponse(body); refused != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(refused.Status)
		w.Write(refused.body())
		return
	}
	req := gjson.ParseBytes(body)
	reply := Reply{Model: req.Get("model").Str, Finish: "stop", Parts: []Part{{Reasoning: "hm"}, {Text: "done"}}, Usage: &provider.Usage{Input: 9, Output: 7}}
	var input []gjson.Result // one text is the user's
	if v := req.Get("input"); v.IsArray() {
		input = v.Array()
	}
	if f := req.Get(`tools.#(type=="function").name`); f.Exists() && (len(input) == 0 || input[len(input)-1].Get("role").Str == "user") {
		reply.Finish = "tool_calls"
		reply.Parts[1] = Part{Call: 1, ID: fmt.Sprint("call_", len(input)), Name: f.Str, Arguments: "{}"}
	}
	if !req.Get("stream").Bool() {
		w.Header().Set("Content-Type", "application/json")
		w.Write(WholeResponse(body, reply))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Write(join(ResponseEvents(body, reply)))
}

// sealedReasoning is what the server has sealed itself.
const sealedReasoning = "gAAAAB"

// Refused is what OpenAI answers in place of a response. Code and Param may be empty.
type Refused struct {
	Status        int
	Code, Param   string
	Message, Type string
}

func (r *Refused) String() string {
	return fmt.Sprintf("%d %s %s: %s", r.Status, r.Code, r.Param, r.Message)
}

func (r *Refused) body() []byte {
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return JSON(Object{"error": Object{"message": r.Message, "type": r.Type, "param": orNull(r.Param), "code": orNull(r.Code)}})
}

func refuse(code, param, message string, args ...any) *Refused {
	return &Refused{http.StatusBadRequest, code, param, fmt.Sprintf(message, args...), "invalid_request_error"}
}

// RefuseResponse returns the refusal of a request of OpenAI's Responses; nil if OpenAI
// takes it. Nothing is stored, so that nothing can be referred to.
func RefuseResponse(body []byte) *Refused {
	if !gjson.ValidBytes(body) {
		return refuse("", "", "We could not parse the JSON body of your request.")
	}
	req := gjson.ParseBytes(body)
	if refused := responseRequest("", req); refused != nil {
		return refused
	}
	for _, rule := range [...]func(gjson.Result) *Refused{refuseStore, refuseForModel, refuseTogether, refuseChoice, refuseInput} {
		if refused := rule(req); refused != nil {
			return refused
		}
	}
	return nil
}

// refuseStore refuses what would be kept for all who share the key, which is a rule of the
// gateway and not of OpenAI's, and what is not kept.
func refuseStore(req gjson.Result) *Refused {
	if req.Get("store").Type != gjson.False {
		return refuse("", "store", "store is %q", req.Get("store").Raw)
	}
	if id := req.Get("previous_response_id").Str; id != "" {
		return refuse("previous_response_not_found", "previous_response_id", "Previous response with id '%s' not found.", id)
	}
	return nil
}

var (
	thinks       = regexp.MustCompile(`^(gpt-5|gpt-6|o[134])(\b|-)`)
	doesNotThink = regexp.MustCompile(`^gpt-(3|4)`)
)

// refuseForModel refuses what only other models have.
func refuseForModel(req gjson.Result) *Refused {
	model := req.Get("model").Str
	unsupported := func(name string) *Refused {
		if v := req.Get(name); !v.Exists() || v.Type == gjson.Null {
			return nil
		}
		return refuse("", name, "Unsupported parameter: '%s' is not supported with this model.", name)
	}
	var names []string
	switch {
	case thinks.MatchString(model) && req.Get("reasoning.effort").Str != "none":
		names = []string{"temperature", "top_p"}
	case doesNotThink.MatchString(model):
		names = []string{"reasoning.effort", "reasoning.summary"}
		if includes(req, "reasoning.encrypted_content") {
			return refuse("", "include", "Encrypted content is not supported with this model.")
		}
	}
	for _, name := range names {
		if refused := unsupported(name); refused != nil {
			return refused
		}
	}
	return nil
}

func includes(req gjson.Result, what string) bool {
	return slices.ContainsFunc(req.Get("include").Array(), func(v gjson.Result) bool { return v.Str == what })
}

// refuseTogether refuses members that need others.
func refuseTogether(req gjson.Result) *Refused {
	if req.Get("stream_options").IsObject() && !req.Get("stream").Bool() {
		return refuse("", "stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	if req.Get("text.format.type").Str == "json_object" && !strings.Contains(strings.ToLower(req.Get("input").Raw+req.Get("instructions").Raw), "json") {
		return refuse("", "input", "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.")
	}
	return nil
}

// refuseChoice refuses a choice of a tool that is not there.
func refuseChoice(req gjson.Result) *Refused {
	choice, tools := req.Get("tool_choice"), toolsOf(req)
	there := func(wanted gjson.Result) bool {
		return slices.ContainsFunc(tools, func(t gjson.Result) bool {
			return t.Get("type").Str == wanted.Get("type").Str && t.Get("name").Str == wanted.Get("name").Str && t.Get("server_label").Str == wanted.Get("server_label").Str
		})
	}
	wanted := []gjson.Result{choice}
	switch {
	case choice.Str == "required" && len(tools) == 0:
		return refuse("", "tool_choice", "Tool choice 'required' must be specified with 'tools' parameter.")
	case !choice.IsObject():
		return nil
	case choice.Get("type").Str == "allowed_tools":
		wanted = choice.Get("tools").Array()
	}
	for _, w := range wanted {
		if !there(w) {
			name := w.Get("name").Str
			if name == "" {
				name = w.Get("type").Str
			}
			return refuse("", "tool_choice", "Tool choice '%s' not found in 'tools' parameter.", name)
		}
	}
	return nil
}

// toolsOf returns the tools of a request, which its input may add to.
func toolsOf(req gjson.Result) []gjson.Result {
	tools := req.Get("tools").Array()
	for _, item := range req.Get("input").Array() {
		if item.Get("type").Str == "additional_tools" {
			tools = append(tools, item.Get("tools").Array()...)
		}
	}
	return tools
}

func refuseInput(req gjson.Result) *Refused {
	input := req.Get("input")
	if !input.IsArray() {
		return nil
	}
	items, tools := input.Array(), toolsOf(req)
	for i, item := range items {
		if refused := refuseNamespace(fmt.Sprintf("input[%d]", i), item, tools); refused != nil {
			return refused
		}
	}
	return refuseOrder(items)
}
