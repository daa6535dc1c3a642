package providertest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"
)

// responseRequest is the body of POST /v1/responses, after the types of OpenAI's own
// clients, with client_metadata, which Codex sends.
var responseRequest = anObject(shape{
	"background":             orNull(aBoolean),
	"client_metadata":        anyObject,
	"context_management":     orNull(listOf(anObject(shape{"type!": oneOf("compaction"), "compact_threshold": orNull(anInteger(1000, 1e9))}))),
	"conversation":           orNull(textOr(anObject(shape{"id!": anyText}))),
	"include":                orNull(listOf(oneOf(includable...))),
	"input!":                 textOr(listOf(inputItem)),
	"instructions":           orNull(anyText),
	"max_output_tokens":      orNull(anInteger(16, 1e9)),
	"max_tool_calls":         orNull(anInteger(1, 1e9)),
	"metadata":               orNull(metadata),
	"model!":                 anyText,
	"moderation":             orNull(anyObject),
	"parallel_tool_calls":    orNull(aBoolean),
	"previous_response_id":   orNull(identity("resp")),
	"prompt":                 orNull(anObject(shape{"id!": anyText, "variables": orNull(anyObject), "version": orNull(anyText)})),
	"prompt_cache_key":       orNull(anyText),
	"prompt_cache_options":   anObject(shape{"mode": oneOf("implicit", "explicit"), "ttl": oneOf("30m")}),
	"prompt_cache_retention": orNull(oneOf("in_memory", "24h")),
	"reasoning": orNull(anObject(shape{
		"context":          orNull(oneOf("auto", "current_turn", "all_turns")),
		"effort":           orNull(oneOf("none", "minimal", "low", "medium", "high", "xhigh", "max")),
		"generate_summary": orNull(oneOf("auto", "concise", "detailed")),
		"mode":             oneOf("standard", "pro"),
		"summary":          orNull(oneOf("auto", "concise", "detailed")),
	})),
	"safety_identifier": orNull(aText(64)),
	"service_tier":      orNull(oneOf("auto", "default", "flex", "scale", "priority")),
	"store":             orNull(aBoolean),
	"stream":            orNull(aBoolean),
	"stream_options":    orNull(anObject(shape{"include_obfuscation": aBoolean})),
	"temperature":       orNull(aNumber(0, 2)),
	"text":              orNull(anObject(shape{"format": textFormat, "verbosity": orNull(oneOf("low", "medium", "high"))})),
	"tool_choice":       orNull(toolChoice),
	"tools":             orNull(aList(0, 128, tool)),
	"top_logprobs":      orNull(anInteger(0, 20)),
	"top_p":             orNull(aNumber(0, 1)),
	"truncation":        orNull(oneOf("auto", "disabled")),
	"user":              orNull(anyText),
})

var includable = []string{
	"file_search_call.results", "web_search_call.results", "web_search_call.action.sources", "message.input_image.image_url",
	"computer_call_output.output.image_url", "code_interpreter_call.outputs", "reasoning.encrypted_content", "message.output_text.logprobs",
}

func metadata(at string, v gjson.Result) *Refused {
	if refused := anyObject(at, v); refused != nil {
		return refused
	}
	var refused *Refused
	pairs := 0
	v.ForEach(func(key, value gjson.Result) bool {
		if refused = aText(64)(at, key); refused == nil {
			refused = aText(512)(within(at, key.Str), value)
		}
		pairs++
		return refused == nil
	})
	if pairs > 16 {
		return refuse("object_above_max_properties", at, "Invalid '%s': too many properties. Expected an object with at most 16 properties, but got an object with %d properties instead.", at, pairs)
	}
	return refused
}

// textFormat is the answer's format.
var textFormat = byType(map[string]want{
	"text":        typed(nil),
	"json_object": typed(nil),
	"json_schema": func(at string, v gjson.Result) *Refused {
		if refused := typed(shape{"name!": toolName, "schema!": anyObject, "description": anyText, "strict": orNull(aBoolean)})(at, v); refused != nil {
			return refused
		}
		if fault := looseness(v.Get("schema"), "()"); v.Get("strict").Bool() && fault != "" {
			return refuse("invalid_json_schema", at+".schema", "Invalid schema for response_format '%s': %s", v.Get("name").Str, fault)
		}
		return nil
	},
})

// looseness says why a schema is not strict; empty if it is.
func looseness(schema gjson.Result, context string) (fault string) {
	properties := schema.Get("properties")
	if schema.Get("type").Str == "object" || properties.Exists() {
		if schema.Get("additionalProperties").Type != gjson.False {
			return fmt.Sprintf("In context=%s, 'additionalProperties' is required to be supplied and to be false.", context)
		}
		properties.ForEach(func(key, value gjson.Result) bool {
			if !slices.ContainsFunc(schema.Get("required").Array(), func(r gjson.Result) bool { return r.Str == key.Str }) {
				fault = fmt.Sprintf("In context=%s, 'required' is required to be supplied and to be an array including every key in properties. Missing '%s'.", context, key.Str)
			} else {
				fault = looseness(value, fmt.Sprintf("('properties', '%s')", key.Str))
			}
			return fault == ""
		})
	}
	if items := schema.Get("items"); fault == "" && items.IsObject() {
		fault = looseness(items, "('items')")
	}
	return fault
}

// The tools.
var (
	allowedCallers = orNull(listOf(oneOf("direct", "programmatic")))
	functionTool   = shape{
		"name!": toolName, "description": orNull(anyText), "parameters": orNull(anyObject), "strict": orNull(aBoolean),
		"allowed_callers": allowedCallers, "defer_loading": aBoolean, "output_schema": orNull(anyObject),
	}
	customTool = typed(shape{
		"name!": toolName, "description": anyText, "allowed_callers": allowedCallers, "defer_loading": aBoolean,
		"format": byType(map[string]want{
			"text":    typed(nil),
			"grammar": typed(shape{"definition!": anyText, "syntax!": oneOf("lark", "regex")}),
		}),
	})
	webSearch = typed(shape{
		"external_web_access": aBoolean, "filters": orNull(anObject(shape{"allowed_domains": orNull(listOf(anyText)), "blocked_domains": orNull(listOf(anyText))})),
		"search_content_types": listOf(oneOf("text", "image")), "search_context_size": oneOf("low", "medium", "high"),
		"user_location": orNull(anObject(shape{"type": oneOf("approximate"), "city": orNull(anyText), "country": orNull(aText(2)), "region": orNull(anyText), "timezone": orNull(anyText)})),
	})
	tool = byType(map[string]want{
		"function": function, "custom": customTool,
		"namespace":   typed(shape{"name!": toolName, "description!": anyText, "tools!": aList(1, many, byType(map[string]want{"function": function, "custom": customTool}))}),
		"tool_search": typed(shape{"description": orNull(anyText), "execution": oneOf("server", "client"), "parameters": orNull(anyObject)}),
		"web_search":  webSearch, "web_search_2025_08_26": webSearch, "web_search_preview": webSearch, "web_search_preview_2025_03_11": webSearch,
		"file_search": typed(shape{"vector_store_ids!": aList(1, many, anyText), "filters": orNull(anyObject), "max_num_results": anInteger(1, 50), "ranking_options": anyObject}),
		"code_interpreter": typed(shape{
			"allowed_callers": allowedCallers,
			"container!":      textOr(anObject(shape{"type!": oneOf("auto"), "file_ids": listOf(anyText), "memory_limit": orNull(oneOf("1g", "4g", "16g", "64g")), "network_policy": anyObject})),
		}),
		"image_generation": typed(shape{
			"action": oneOf("generate", "edit", "auto"), "background": oneOf("transparent", "opaque", "auto"), "input_fidelity": orNull(oneOf("high", "low")),
			"input_image_mask": anyObject, "model": anyText, "moderation": oneOf("auto", "low"), "output_compression": anInteger(0, 100),
			"output_format": oneOf("png", "webp", "jpeg"), "partial_images": anInteger(0, 3), "quality": oneOf("low", "medium", "high", "auto"), "size": anyText,
		}),
		"mcp": typed(shape{
			"server_label!": anyText, "allowed_callers": allowedCallers, "allowed_tools": anything, "authorization": anyText, "connector_id": anyText, "defer_loading": aBoolean,
			"headers": orNull(anyObject), "require_approval": anything, "server_description": anyText, "server_url": anyText, "tunnel_id": anyText,
		}),
		"computer": typed(nil), "local_shell": typed(nil), "programmatic_tool_calling": typed(nil),
		"computer_use_preview": typed(shape{"display_height!": anInteger(1, 1e5), "display_width!": anInteger(1, 1e5), "environment!": oneOf("windows", "mac", "linux", "ubuntu", "browser")}),
		"shell":                typed(shape{"allowed_callers": allowedCallers, "environment": orNull(anyObject)}),
		"apply_patch":          typed(shape{"allowed_callers": allowedCallers}),
	})
)

func function(at string, v gjson.Result) *Refused {
	if refused := typed(functionTool)(at, v); refused != nil {
		return refused
	}
	parameters := v.Get("parameters")
	if !parameters.IsObject() {
		return nil
	}
	fault := ""
	if typ := parameters.Get("type").Str; typ != "object" {
		fault = fmt.Sprintf(`schema must be a JSON Schema of 'type: "object"', got 'type: "%s"'.`, cmp.Or(typ, "None"))
	} else if v.Get("strict").Bool() {
		fault = looseness(parameters, "()")
	}
	if fault != "" {
		return refuse("invalid_function_parameters", at+".parameters", "Invalid schema for function '%s': %s", v.Get("name").Str, fault)
	}
	return nil
}

// toolChoice says which tools the model has to call.
func toolChoice(at string, v gjson.Result) *Refused {
	if v.Type == gjson.String {
		return oneOf("none", "auto", "required")(at, v)
	}
	hosted := typed(nil)
	return byType(map[string]want{
		"function": typed(shape{"name!": toolName}), "custom": typed(shape{"name!": toolName}),
		"allowed_tools": typed(shape{"mode!": oneOf("auto", "required"), "tools!": aList(1, many, anyObject)}),
		"mcp":           typed(shape{"server_label!": anyText, "name": orNull(anyText)}),
		"file_search":   hosted, "web_search": hosted, "web_search_preview": hosted, "web_search_preview_2025_03_11": hosted, "computer": hosted,
		"computer_use_preview": hosted, "computer_use": hosted, "image_generation": hosted, "code_interpreter": hosted, "apply_patch": hosted,
		"shell": hosted, "programmatic_tool_calling": hosted,
	})(at, v)
}
