package report

import (
	"fmt"
	"os"
	"strings"
)

// Update writes generated text into a page, between the markers of its section.
// Everything else in the page is handwritten and stays.
func Update(file, section, text string) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	updated, err := replace(string(page), section, text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(updated), 0o600) //nolint:gosec // the page just read, whose mode stays
}

func replace(page, section, text string) (string, error) {
	begin := fmt.Sprintf("<!-- bench: %s -->\n", section)
	end := fmt.Sprintf("<!-- end: %s -->\n", section)
	before, rest, ok := strings.Cut(page, begin)
	if !ok {
		return "", fmt.Errorf("no line %q", strings.TrimSpace(begin))
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("no line %q after its beginning", strings.TrimSpace(end))
	}
	return before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after, nil
}
