package providertest

import (
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// inputItem is an item of the input. Without a type it is a message.
func inputItem(at string, v gjson.Result) *Refused {
	if v.IsObject() && !v.Get("type").Exists() && v.Get("role").Exists() {
		return inputMessage(at, v)
	}
	return byType(inputItems)(at, v)
}

var (
	itemStatus = orNull(oneOf("in_progress", "completed", "incomplete"))
	callID     = aText(64)
	caller     = orNull(byType(map[string]want{"direct": typed(nil), "program": typed(shape{"caller_id!": anyText})}))
	breakpoint = orNull(anObject(shape{"mode!": oneOf("explicit")}))
)

var inputItems = map[string]want{
	"message": inputMessage,
	"reasoning": typed(shape{ // and no status, although answers could have one
		"id": identity("rs"), "summary!": listOf(byType(map[string]want{"summary_text": typed(shape{"text!": anyText})})),
		"content": orNull(aList(0, 0, anything)), "encrypted_content": orNull(anyText),
	}),

	"function_call": typed(shape{
		"call_id!": callID, "name!": toolName, "arguments!": anyText, "id": identity("fc"), "namespace": anyText, "caller": caller, "status": itemStatus,
	}),
	"function_call_output":    typed(shape{"call_id!": callID, "output!": textOr(listOf(userPart)), "id": orNull(identity("fc")), "caller": caller, "status": itemStatus}),
	"custom_tool_call":        typed(shape{"call_id!": callID, "name!": toolName, "input!": anyText, "id": identity("ctc"), "namespace": anyText, "caller": caller, "status": itemStatus}),
	"custom_tool_call_output": typed(shape{"call_id!": callID, "output!": textOr(listOf(userPart)), "id": orNull(identity("ctc")), "caller": caller, "status": itemStatus}),
	"additional_tools":        typed(shape{"role!": oneOf("developer"), "tools!": listOf(tool), "id": orNull(anyText)}),
	"tool_search_call":        typed(shape{"arguments!": anything, "id": orNull(anyText), "call_id": orNull(callID), "execution": oneOf("server", "client"), "status": itemStatus}),
	"tool_search_output":      typed(shape{"tools!": listOf(tool), "id": orNull(anyText), "call_id": orNull(callID), "execution": oneOf("server", "client"), "status": itemStatus}),

	"web_search_call":       typed(shape{"id!": identity("ws"), "action!": anyObject, "status!": oneOf("in_progress", "searching", "completed", "failed")}),
	"file_search_call":      typed(shape{"id!": identity("fs"), "queries!": listOf(anyText), "results": orNull(listOf(anyObject)), "status!": oneOf("in_progress", "searching", "completed", "incomplete", "failed")}),
	"image_generation_call": typed(shape{"id!": identity("ig"), "result!": orNull(anyText), "status!": oneOf("in_progress", "completed", "generating", "failed")}),
	"code_interpreter_call": typed(shape{
		"id!": identity("ci"), "code!": orNull(anyText), "container_id!": anyText, "outputs!": orNull(listOf(anyObject)),
		"status!": oneOf("in_progress", "completed", "incomplete", "interpreting", "failed"),
	}),
	"computer_call": typed(shape{
		"id!": anyText, "call_id!": callID, "pending_safety_checks!": listOf(anyObject), "action": anyObject, "actions": listOf(anyObject), "status!": itemStatus,
	}),
	"computer_call_output":    typed(shape{"call_id!": callID, "output!": anyObject, "id": orNull(anyText), "acknowledged_safety_checks": orNull(listOf(anyObject)), "status": itemStatus}),
	"local_shell_call":        typed(shape{"id!": anyText, "call_id!": callID, "action!": anyObject, "status!": itemStatus}),
	"local_shell_call_output": typed(shape{"id!": anyText, "output!": anyText, "status": itemStatus}),
	"shell_call":              typed(shape{"call_id!": callID, "action!": anyObject, "id": orNull(anyText), "caller": caller, "environment": orNull(anyObject), "status": itemStatus}),
	"shell_call_output":       typed(shape{"call_id!": callID, "output!": listOf(anyObject), "id": orNull(anyText), "caller": caller, "max_output_length": orNull(anInteger(0, 1e9)), "status": itemStatus}),
	"apply_patch_call":        typed(shape{"call_id!": callID, "operation!": anyObject, "id": orNull(anyText), "caller": caller, "status!": oneOf("in_progress", "completed")}),
	"apply_patch_call_output": typed(shape{"call_id!": callID, "output": orNull(anyText), "id": orNull(anyText), "caller": caller, "status!": oneOf("completed", "failed")}),
	"mcp_list_tools":          typed(shape{"id!": anyText, "server_label!": anyText, "tools!": listOf(anyObject), "error": orNull(anyText)}),
	"mcp_approval_request":    typed(shape{"id!": anyText, "arguments!": anyText, "name!": anyText, "server_label!": anyText}),
	"mcp_approval_response":   typed(shape{"approval_request_id!": anyText, "approve!": aBoolean, "id": orNull(anyText), "reason": orNull(anyText)}),
	"mcp_call": typed(shape{
		"id!": anyText, "arguments!": anyText, "name!": anyText, "server_label!": anyText, "approval_request_id": orNull(anyText), "error": orNull(anything),
		"output": orNull(anyText), "status": oneOf("in_progress", "completed", "incomplete", "calling", "failed"),
	}),
	"compaction":         typed(shape{"encrypted_content!": anyText, "id": orNull(anyText)}),
	"compaction_trigger": typed(nil),
	"item_reference":     typed(shape{"id!": anyText}),
	"program":            typed(shape{"id!": anyText, "call_id!": callID, "code!": anyText, "fingerprint!": anyText}),
	"program_output":     typed(shape{"id!": anyText, "call_id!": callID, "result!": anyText, "status!": oneOf("completed", "incomplete")}),
}

// inputMessage is a message, whose role says which parts it may have.
func inputMessage(at string, v gjson.Result) *Refused {
	if !v.Get("role").Exists() {
		return missing(within(at, "role"))
	}
	part := userPart
	if v.Get("role").Str == "assistant" {
		part = assistantPart
	}
	return typed(shape{
		"role!": oneOf("assistant", "system", "developer", "user"), "content!": textOr(listOf(part)),
		"id": identity("msg"), "status": itemStatus, "phase": orNull(oneOf("commentary", "final_answer")),
	})(at, v)
}

// userPart is a part of what is not the model's, and assistantPart of what is.
var (
	userPart = byType(map[string]want{
		"input_text":  typed(shape{"text!": anyText, "prompt_cache_breakpoint": breakpoint}),
		"input_image": inputImage,
		"input_file":  inputFile,
	})
	assistantPart = byType(map[string]want{
		"output_text": typed(shape{"text!": anyText, "annotations": listOf(anyObject), "logprobs": orNull(listOf(anyObject))}),
		"refusal":     typed(shape{"refusal!": anyText}),
	})
)

var imageURL = regexp.MustCompile(`^(https?://[^/\s]+|data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$)`)

func inputImage(at string, v gjson.Result) *Refused {
	refused := typed(shape{
		"image_url": orNull(anyText), "file_id": orNull(anyText), "detail": orNull(oneOf("low", "high", "auto", "original")), "prompt_cache_breakpoint": breakpoint,
	})(at, v)
	url := v.Get("image_url")
	switch {
	case refused != nil:
		return refused
	case url.Str == "" && v.Get("file_id").Str == "":
		return missing(within(at, "image_url"))
	case url.Str != "" && !imageURL.MatchString(url.Str):
		return refuse("invalid_value", within(at, "image_url"), "Invalid '%s'. Expected a valid URL, but got a value with an invalid format.", within(at, "image_url"))
	}
	return nil
}

func inputFile(at string, v gjson.Result) *Refused {
	refused := typed(shape{
		"file_data": orNull(anyText), "file_id": orNull(anyText), "file_url": orNull(anyText), "filename": orNull(anyText),
		"detail": oneOf("auto", "low", "high"), "prompt_cache_breakpoint": breakpoint,
	})(at, v)
	data := v.Get("file_data").Str
	switch {
	case refused != nil:
		return refused
	case data == "" && v.Get("file_id").Str == "" && v.Get("file_url").Str == "":
		return missing(within(at, "file_id"))
	case data != "" && !strings.HasPrefix(data, "data:"):
		return refuse("invalid_value", within(at, "file_data"), "Invalid '%s'. Expected a base64-encoded data URL, but got a value without the 'data:' prefix.", within(at, "file_data"))
	}
	return nil
}

// outputsOf are what answers calls, in the words of OpenAI's refusals, by the type of the
// call.
var outputsOf = map[string]string{
	"function_call": "function call", "custom_tool_call": "custom tool call", "computer_call": "computer call", "shell_call": "shell call", "apply_patch_call": "apply patch call",
}

// refuseOrder refuses items that are right by themselves, but not where they stand.
func refuseOrder(items []gjson.Result) *Refused {
	open := make(map[string]string) // calls without an output, by their type and id
	called := make(map[string]bool)
	ids := make(map[string]bool)
	for i, item := range items {
		if id := item.Get("id").Str; id != "" {
			if ids[id] {
				return refuse("", "input", "Duplicate item found with id %s. Remove duplicate items from your input and try again.", id)
			}
			ids[id] = true
		}
		typ, id := item.Get("type").Str, item.Get("call_id").Str
		if kind, ok := outputsOf[typ]; ok {
			open[typ+id], called[typ+id] = "No tool output found for "+kind+" "+id+".", true
			continue
		}
		if call, isOutput := strings.CutSuffix(typ, "_output"); isOutput && outputsOf[call] != "" {
			if !called[call+id] {
				return refuse("", "input", "No tool call found for %s output with call_id %s.", outputsOf[call], id)
			}
			delete(open, call+id)
		}
		if typ == "reasoning" {
			if refused := refuseReasoning(item, items[i+1:]); refused != nil {
				return refused
			}
		}
		if typ == "item_reference" {
			return notFound(item)
		}
	}
	for _, item := range items {
		if fault := open[item.Get("type").Str+item.Get("call_id").Str]; fault != "" {
			return refuse("", "input", "%s", fault)
		}
	}
	return nil
}

// refuseReasoning refuses reasoning that the server cannot read, or that nothing of the
// model's follows.
func refuseReasoning(item gjson.Result, rest []gjson.Result) *Refused {
	switch sealed := item.Get("encrypted_content").Str; sealed {
	case sealedReasoning:
	case "":
		return notFound(item)
	default:
		return refuse("invalid_encrypted_content", "", "The encrypted content %.4s...%s could not be verified. Reason: Encrypted content could not be decrypted or parsed.", sealed, sealed[max(0, len(sealed)-4):])
	}
	next := slices.IndexFunc(rest, func(v gjson.Result) bool { return v.Get("type").Str != "reasoning" })
	if next >= 0 && ofModel(rest[next]) {
		return nil
	}
	return refuse("", "input", "Item '%s' of type 'reasoning' was provided without its required following item.", item.Get("id").Str)
}

// ofModel reports whether an item is the model's own.
func ofModel(item gjson.Result) bool {
	typ := item.Get("type").Str
	if role := item.Get("role"); role.Exists() {
		return role.Str == "assistant"
	}
	return !strings.HasSuffix(typ, "_output") && typ != "mcp_approval_response"
}

func notFound(item gjson.Result) *Refused {
	refused := refuse("", "input", "Item with id '%s' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input.", item.Get("id").Str)
	refused.Status = 404
	return refused
}

// refuseNamespace refuses a call of a tool in a namespace that does not say which.
func refuseNamespace(at string, item gjson.Result, tools []gjson.Result) *Refused {
	if item.Get("type").Str != "function_call" || item.Get("namespace").Exists() {
		return nil
	}
	named := func(t gjson.Result) bool { return t.Get("name").Str == item.Get("name").Str }
	inNamespace := func(t gjson.Result) bool { return slices.ContainsFunc(t.Get("tools").Array(), named) }
	if slices.ContainsFunc(tools, named) || !slices.ContainsFunc(tools, inNamespace) {
		return nil
	}
	return refuse("", at+".namespace", "Missing namespace for function_call '%s'. It does not exist in the default namespace. Round-trip the model's function_call item with its namespace field included.", item.Get("name").Str)
}
