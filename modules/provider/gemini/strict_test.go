package gemini

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// strict is what Gemini refuses, see https://ai.google.dev/api/caching#Content
// and https://ai.google.dev/api/caching#FunctionDeclaration.
var strict = providertest.Strictness{Turns: true, Name: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.:-]{0,63}$`)}

// read reads a request as Gemini does.
func read(sent []byte) (providertest.Asked, error) {
	var r request
	var asked providertest.Asked
	dec := json.NewDecoder(bytes.NewReader(sent))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return asked, err
	}
	for _, c := range r.Contents {
		turn := providertest.Turn{Role: map[string]string{roleUser: "user", roleModel: "assistant"}[c.Role]}
		for _, p := range c.Parts {
			said, err := readPart(p)
			if err != nil {
				return asked, err
			}
			turn.Said = append(turn.Said, said)
		}
		asked.Turns = append(asked.Turns, turn)
	}
	for _, set := range r.Tools {
		for _, f := range set.Functions {
			asked.Tools = append(asked.Tools, f.Name)
			var schema map[string]any
			if f.Parameters != nil && (json.Unmarshal(f.Parameters, &schema) != nil || schema["type"] != "object") {
				return asked, fmt.Errorf("parameters of %s: %s", f.Name, f.Parameters)
			}
		}
	}
	if r.ToolConfig != nil && len(r.ToolConfig.Calling.Allowed) > 0 {
		asked.Choice = r.ToolConfig.Calling.Allowed[0]
	}
	if slices.Contains(r.Generation.StopSequences, "") || len(r.Generation.StopSequences) > 5 {
		return asked, fmt.Errorf("stopSequences %q", r.Generation.StopSequences)
	}
	return asked, asked.Refusal(strict)
}

func readPart(p part) (providertest.Said, error) {
	switch {
	case p.Call != nil:
		return providertest.Said{Kind: "call", ID: p.Call.ID, Name: p.Call.Name, Arguments: string(p.Call.Args)}, nil
	case p.Response != nil:
		r := p.Response.Response
		return providertest.Said{Kind: "result", ID: p.Response.ID, Name: p.Response.Name, Text: *cmp.Or(r.Text, r.Error)}, nil
	case p.Data != nil:
		if !slices.Contains([]string{"image/jpeg", "image/png", "image/webp", "image/heic", "image/heif"}, p.Data.MIMEType) {
			return providertest.Said{}, fmt.Errorf("mimeType %s", p.Data.MIMEType)
		}
		return providertest.Said{Kind: "media"}, nil
	case p.Text == "":
		return providertest.Said{}, errors.New("a part without data")
	}
	return providertest.Said{Kind: "text", Text: p.Text}, nil
}
