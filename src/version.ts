// The release, as package.json names it too; a test keeps the two equal.

export const version = '0.1.0';
