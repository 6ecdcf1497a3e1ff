export function writeF32Gguf(input: string, output: string): Promise<void>;
export function writeQ40Gguf(input: string, output: string): Promise<void>;
