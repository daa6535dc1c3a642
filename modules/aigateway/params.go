package aigateway

import (
	"fmt"
	"math"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
)

// param says which values a member of a request may have.
type param struct {
	ok   func(gjson.Result) bool
	want string
}

// chatParams and embeddingParams are OpenAI's rules for the members of a request,
// whatever the type of the provider. They are no stricter, so that what a server of
// OpenAI's dialect adds to them passes.
var chatParams = map[string]param{
	"n":                     whole(1, mostChoices),
	"max_tokens":            whole(1, math.MaxInt64),
	"max_completion_tokens": whole(1, math.MaxInt64),
	"temperature":           number(0, 2),
	"top_p":                 number(0, 1),
	"frequency_penalty":     number(-2, 2),
	"presence_penalty":      number(-2, 2),
	"seed":                  {func(v gjson.Result) bool { return v.Type == gjson.Number }, "want a number"},
	"stop":                  {isTexts, "want a string or a list of strings"},
	"logprobs":              {gjson.Result.IsBool, "want true or false"},
	"top_logprobs":          whole(0, 20),
	"logit_bias":            anObject,
	"user":                  aText,
	"safety_identifier":     aText,
	"reasoning_effort":      aText,
	"tools":                 aList,
	"functions":             aList,
	"tool_choice":           {isChoice, "want a string or an object"},
	"function_call":         {isChoice, "want a string or an object"},
	"parallel_tool_calls":   {gjson.Result.IsBool, "want true or false"},
	"response_format":       anObject,
	"modalities":            aList,
	"store":                 {gjson.Result.IsBool, "want true or false"},
}

var embeddingParams = map[string]param{
	"dimensions":      whole(1, math.MaxInt32),
	"encoding_format": aText,
	"user":            aText,
}

// textParams and imageParams are what multiplies the output of a request that passes
// through.
var (
	textParams = map[string]param{
		"n":          whole(1, mostChoices),
		"best_of":    whole(0, mostChoices),
		"max_tokens": whole(0, math.MaxInt64),
	}
	imageParams = map[string]param{"n": whole(1, mostChoices)}
)

// mostChoices is how many answers a request may ask for.
const mostChoices = 128

var (
	aText    = param{isText, "want a string"}
	aList    = param{gjson.Result.IsArray, "want a list"}
	anObject = param{gjson.Result.IsObject, "want an object"}
)

// checkParam checks one member of a request. null stands for a member that is not
// there.
func checkParam(params map[string]param, name string, v gjson.Result) error {
	p, known := params[name]
	if !known || v.Type == gjson.Null || p.ok(v) {
		return nil
	}
	return apierror.InvalidRequest(name, p.want)
}

func number(least, most float64) param {
	return param{
		func(v gjson.Result) bool { return v.Type == gjson.Number && v.Num >= least && v.Num <= most },
		fmt.Sprintf("want a number from %v to %v", least, most),
	}
}

func whole(least, most int64) param {
	want := fmt.Sprintf("want a whole number from %d to %d", least, most)
	if most == math.MaxInt64 {
		want = fmt.Sprintf("want a whole number from %d", least)
	}
	return param{func(v gjson.Result) bool {
		// As a float, the greatest int64 is one more than it is.
		return v.Type == gjson.Number && v.Num == math.Trunc(v.Num) && v.Num >= float64(least) &&
			(v.Num <= float64(most) && v.Num < math.MaxInt64)
	}, want}
}

func isText(v gjson.Result) bool { return v.Type == gjson.String }

func isChoice(v gjson.Result) bool { return isText(v) || v.IsObject() }

func isTexts(v gjson.Result) bool {
	ok := isText(v) || v.IsArray()
	if v.IsArray() {
		v.ForEach(func(_, e gjson.Result) bool {
			ok = isText(e)
			return ok
		})
	}
	return ok
}

// modelName returns the model that a request names, or an empty string.
func modelName(model gjson.Result) (string, error) {
	switch {
	case !model.Exists() || model.Type == gjson.Null:
		return "", nil
	case model.Type == gjson.String && chat.ValidModel(model.Str):
		return model.Str, nil
	}
	return "", apierror.InvalidRequest("model", chat.WantModel)
}
