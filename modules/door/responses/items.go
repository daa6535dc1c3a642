package responses

import (
	"encoding/json"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/items"
)

// Whole implements door.Call.
func (c *call) Whole(system string, before []json.RawMessage) (body []byte, dropped []string, ok bool) {
	body = c.body
	var z itemizer
	for _, m := range before {
		if !z.add(gjson.ParseBytes(m)) {
			return nil, nil, false
		}
	}
	said := len(z.Items)
	switch input := gjson.GetBytes(body, "input"); {
	case said == 0:
	case input.Type == gjson.String:
		z.Say("user", input.Str)
	default:
		for _, item := range input.Array() {
			z.Items = append(z.Items, json.RawMessage(item.Raw))
		}
	}
	list := answered(z.Items, said)
	var err error
	set := func(name string, v any) {
		if err == nil {
			body, err = sjson.SetBytes(body, name, v)
		}
	}
	if len(list) > 0 {
		set("input", list)
	}
	if given(gjson.GetBytes(body, "instructions")) == nil && system != "" {
		set("instructions", system)
	}
	if gjson.GetBytes(body, "store").Bool() {
		set("store", false) // it is kept here
	}
	for _, name := range needsStore {
		if err == nil {
			body, err = sjson.DeleteBytes(body, name)
		}
	}
	return body, z.Dropped, err == nil
}

// itemizer turns messages of chat completions into items.
type itemizer struct {
	items.List
	whole bool // the last message was added by its items
}

// add adds a message, by the items that it was made of if there are some. A list of none is
// that of a message whose items are with the one before it, if that was not left out. It
// reports whether it has a form.
func (z *itemizer) add(m gjson.Result) bool {
	if made := m.Get(door.MemberItems); made.IsArray() && (z.whole || len(made.Array()) > 0) {
		z.whole = true
		z.AddItems(made)
		return true
	}
	z.whole = false
	return z.Add(m)
}

// Said implements door.Call.
func (c *call) Said(response []byte) (member string, value json.RawMessage) {
	output := gjson.GetBytes(response, "output")
	more := false
	output.ForEach(func(_, item gjson.Result) bool {
		switch item.Get("type").Str {
		case typeMessage:
			more = len(item.Get("content.#.annotations|@flatten").Array()) > 0
		case typeFunction:
			more = item.Get("namespace").Exists()
		default:
			more = true
		}
		return !more
	})
	if !more {
		return "", nil
	}
	return door.MemberItems, json.RawMessage(output.Get("@ugly").Raw)
}
