package anthropic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// strict is what Anthropic refuses, see
// https://docs.anthropic.com/en/api/messages.
var strict = providertest.Strictness{
	Turns: true, Blanks: true,
	ID: regexp.MustCompile(`^[a-zA-Z0-9_-]+$`), Name: regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`),
}

// read reads a request as Anthropic does.
func read(sent []byte) (providertest.Asked, error) {
	var b body
	var asked providertest.Asked
	dec := json.NewDecoder(bytes.NewReader(sent))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return asked, err
	}
	for _, m := range b.Messages {
		turn := providertest.Turn{Role: m.Role}
		for i, p := range m.Content {
			said, err := readBlock(p)
			if err != nil {
				return asked, err
			}
			if said.Kind == "thought" && i > 0 && !m.Content[i-1].isThinking() {
				return asked, errors.New("thinking is not at the beginning")
			}
			turn.Said = append(turn.Said, said)
		}
		asked.Turns = append(asked.Turns, turn)
	}
	nameCalls(&asked)
	for _, t := range b.Tools {
		asked.Tools = append(asked.Tools, t.Name)
		var schema map[string]any
		if json.Unmarshal(t.InputSchema, &schema) != nil || schema["type"] != "object" {
			return asked, fmt.Errorf("input_schema of %s: %s", t.Name, t.InputSchema)
		}
		for _, refused := range [...]string{"oneOf", "anyOf", "allOf"} {
			if _, ok := schema[refused]; ok {
				return asked, fmt.Errorf("input_schema of %s: %s at the top level", t.Name, refused)
			}
		}
	}
	if c := b.ToolChoice; c != nil {
		if asked.Choice = c.Name; len(b.Tools) == 0 {
			return asked, errors.New("tool_choice without tools")
		}
	}
	if b.MaxTokens < 1 || slices.ContainsFunc(b.StopSequences, func(s string) bool { return strings.TrimSpace(s) == "" }) {
		return asked, fmt.Errorf("max_tokens %d, stop_sequences %q", b.MaxTokens, b.StopSequences)
	}
	return asked, asked.Refusal(strict)
}

func readBlock(b block) (providertest.Said, error) {
	switch b.Type {
	case "text":
		return providertest.Said{Kind: "text", Text: b.Text}, nil
	case "tool_use":
		return providertest.Said{Kind: "call", ID: b.ID, Name: b.Name, Arguments: string(b.Input)}, nil
	case "tool_result":
		said := providertest.Said{Kind: "result", ID: b.ToolUseID}
		for _, p := range b.Content {
			if p.Type == "text" && strings.TrimSpace(p.Text) == "" {
				return said, errors.New("a result has blank text")
			}
			said.Text += p.Text
		}
		return said, nil
	case "image":
		if !slices.Contains([]string{"image/jpeg", "image/png", "image/gif", "image/webp"}, b.Source.MediaType) {
			return providertest.Said{}, fmt.Errorf("media type %s", b.Source.MediaType)
		}
		return providertest.Said{Kind: "media"}, nil
	case "thinking", "redacted_thinking":
		if b.Signature == "" && b.Data == "" {
			return providertest.Said{}, errors.New("thinking without a signature")
		}
		return providertest.Said{Kind: "thought"}, nil
	}
	return providertest.Said{}, fmt.Errorf("block of type %s", b.Type)
}

// nameCalls gives results the names of their calls, which this dialect does not
// repeat.
func nameCalls(asked *providertest.Asked) {
	names := make(map[string]string)
	for _, t := range asked.Turns {
		for i, p := range t.Said {
			switch p.Kind {
			case "call":
				names[p.ID] = p.Name
			case "result":
				t.Said[i].Name = names[p.ID]
			}
		}
	}
}
