package responses

import (
	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Keeping is what a request says of responses that are kept.
type Keeping struct {
	Store        bool   // keep this one, as is the default
	Background   bool   // answer before it is made
	Previous     string // the response that it goes on from, or nothing
	Conversation string // the conversation that it belongs to, or nothing
	Truncate     bool   // the beginning of a long conversation may be left out
}

// ReadKeeping reads it from the body of a request. Errors are *provider.Error and name
// the member.
func ReadKeeping(body []byte) (Keeping, error) { return keepingOf(gjson.ParseBytes(body)) }

func keepingOf(root gjson.Result) (k Keeping, err error) {
	k.Store = true
	if err := readBool(root, "store", &k.Store); err != nil {
		return k, err
	}
	if err := readBool(root, "background", &k.Background); err != nil {
		return k, err
	}
	k.Truncate = root.Get("truncation").Str == truncationAuto
	const previous, conversation, metadata = "previous_response_id", "conversation", "metadata"
	if v := root.Get(previous); given(v) != nil {
		if k.Previous = v.Str; v.Str == "" {
			return k, provider.Invalid(previous, "want the id of a response")
		}
	}
	if v := root.Get(conversation); given(v) != nil {
		id := v
		if v.IsObject() {
			id = v.Get("id")
		}
		if k.Conversation = id.Str; id.Str == "" {
			return k, provider.Invalid(conversation, "want the id of a conversation, or an object with it as id")
		}
	}
	if k.Previous != "" && k.Conversation != "" {
		return k, provider.Invalid(previous, "want either this or conversation")
	}
	return k, checkMetadata(metadata, root.Get(metadata))
}

// The values of truncation: what becomes of a conversation that is too long.
const (
	truncationAuto     = "auto" // its beginning is left out
	truncationDisabled = "disabled"
)

func readBool(root gjson.Result, name string, to *bool) error {
	v := root.Get(name)
	if given(v) == nil {
		return nil
	}
	if !v.IsBool() {
		return provider.Invalid(name, "want true or false")
	}
	*to = v.Bool()
	return nil
}

func checkMetadata(name string, v gjson.Result) error {
	if given(v) == nil {
		return nil
	}
	if !v.IsObject() {
		return provider.Invalid(name, "want an object")
	}
	var err error
	v.ForEach(func(k, value gjson.Result) bool {
		if value.Type != gjson.String {
			err = provider.Invalid(name+"."+k.Str, "want a string")
		}
		return err == nil
	})
	return err
}
