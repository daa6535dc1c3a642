package chat

import (
	"strings"
	"testing"
)

func TestValidModel(t *testing.T) {
	for name, want := range map[string]bool{
		"gpt-4o-mini":                  true,
		"openai/gpt-4o":                true,
		"@cf/meta/llama-3.1:8b":        true,
		"accounts/a b/models/c":        true,
		"modèle-天気":                    true,
		strings.Repeat("x", 256):       true,
		strings.Repeat("é", 256):       true,
		"":                             false,
		strings.Repeat("x", 257):       false,
		strings.Repeat("x", 9<<10):     false,
		"a\x00":                        false,
		"a\nb":                         false,
		"a\tb":                         false,
		"a\x7f":                        false,
		"a\u0085":                      false,
		"gpt\u202e4":                   false,
		"gpt\u2066x":                   false,
		"gpt\u200bx":                   false,
		"\ufeffgpt":                    false,
		"gpt\u2028x":                   false,
		"gpt\u00a0x":                   false,
		"gpt\ue000":                    false,
		"gpt\U000e0041":                false,
		"a\xff":                        false,
		"gpt" + string(rune(0x10ffff)): false,
	} {
		if got := ValidModel(name); got != want {
			t.Errorf("%.40q: %v, want %v", name, got, want)
		}
	}
}
