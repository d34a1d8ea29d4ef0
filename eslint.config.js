import eslint from '@eslint/js'
import tseslint from 'typescript-eslint'

export default tseslint.config(
  {
    ignores: [
      'dist/',
      'bench/',
      '.tap/',
      'test/fixtures/',
      'src/quant/assembly/',
      'src/quality/assembly/',
      'src/checksum/assembly/',
    ],
  },
  eslint.configs.recommended,
  {
    files: ['**/*.js'],
    languageOptions: {
      globals: {
        AbortController: false,
        AbortSignal: false,
        Buffer: false,
        console: false,
        fetch: false,
        URL: false,
        process: false,
      },
    },
  },
  {
    // The rooms that are to run in a browser: what they need of the platform comes in from above.
    files: ['src/{model,wasm,checksum,quant,quality,formats}/**/*.ts'],
    rules: {
      'no-restricted-imports': ['error', { patterns: [{ regex: '^[^.]', message: 'No module but our own here.' }] }],
      'no-restricted-globals': ['error', 'Buffer', 'process', 'setImmediate'],
    },
  },
  {
    // The same for what converts and for recipes, but for the library that reads model cards, which runs in browsers too.
    files: ['src/{convert,recipes}/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            { regex: '^(?!\\.|yaml$)', message: 'No module but our own here.' },
            { regex: 'formats/[a-z]+/', message: 'Ask formats.ts for the format.' },
          ],
        },
      ],
      'no-restricted-globals': ['error', 'Buffer', 'process', 'setImmediate'],
    },
  },
  {
    // One place knows every format; whoever else wants one asks there.
    files: ['src/**/*.ts'],
    ignores: ['src/{formats,convert,recipes}/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [{ regex: 'formats/[a-z]+/', message: 'Ask formats.ts for the format.' }] },
      ],
    },
  },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Numbers in messages are what messages are for.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
    },
  },
)
