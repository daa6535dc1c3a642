package bedrock

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

// strict is what Converse refuses, for itself or for Claude, see
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
var strict = providertest.Strictness{
	Turns: true, Blanks: true,
	ID: regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`), Name: regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`),
}

// read reads a request as Converse does.
func read(sent []byte) (providertest.Asked, error) {
	var b converse
	var asked providertest.Asked
	dec := json.NewDecoder(bytes.NewReader(sent))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return asked, err
	}
	names := make(map[string]string) // of the calls
	called := false
	for _, m := range b.Messages {
		turn := providertest.Turn{Role: m.Role}
		for _, p := range m.Content {
			said, err := readBlock(p)
			if err != nil {
				return asked, err
			}
			switch said.Kind {
			case "call":
				called, names[said.ID] = true, said.Name
			case "result":
				said.Name = names[said.ID]
			}
			turn.Said = append(turn.Said, said)
		}
		asked.Turns = append(asked.Turns, turn)
	}
	switch {
	case b.Tools == nil && called:
		return asked, errors.New("toolConfig is required in a conversation with calls")
	case b.Tools != nil && len(b.Tools.Tools) == 0:
		return asked, errors.New("toolConfig without tools")
	case b.Tools != nil:
		for _, t := range b.Tools.Tools {
			asked.Tools = append(asked.Tools, t.Spec.Name)
		}
		if c := b.Tools.Choice; c != nil && c.Tool != nil {
			asked.Choice = c.Tool.Name
		}
	}
	if b.Inference != nil && slices.ContainsFunc(b.Inference.Stop, func(s string) bool { return strings.TrimSpace(s) == "" }) {
		return asked, fmt.Errorf("stopSequences %q", b.Inference.Stop)
	}
	return asked, asked.Refusal(strict)
}

func readBlock(b block) (providertest.Said, error) {
	switch {
	case b.ToolUse != nil:
		return providertest.Said{Kind: "call", ID: b.ToolUse.ID, Name: b.ToolUse.Name, Arguments: string(b.ToolUse.Input)}, nil
	case b.ToolResult != nil:
		said := providertest.Said{Kind: "result", ID: b.ToolResult.ID}
		if len(b.ToolResult.Content) == 0 {
			return said, errors.New("a result without content")
		}
		for _, p := range b.ToolResult.Content {
			said.Text += p.Text
		}
		return said, nil
	case b.Image != nil:
		if !slices.Contains([]string{"png", "jpeg", "gif", "webp"}, b.Image.Format) {
			return providertest.Said{}, fmt.Errorf("format %s", b.Image.Format)
		}
		return providertest.Said{Kind: "media"}, nil
	case b.Reasoning != nil:
		return providertest.Said{Kind: "thought"}, nil
	case b.Document != nil:
		return providertest.Said{Kind: "media"}, nil
	}
	return providertest.Said{Kind: "text", Text: b.Text}, nil
}
