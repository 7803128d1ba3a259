// The product's source files as the compiler reads them: in comes a folder of the checkout, out come each file's imports, the names that
// it defines at its top, its functions with their lengths, and what its lists of parts ask of others.

import { join, relative, resolve } from 'node:path';
import type { Node, SourceFile } from 'typescript/unstable/ast';
import {
  isArrowFunction,
  isClassDeclaration,
  isConstructorDeclaration,
  isExportDeclaration,
  isFunctionDeclaration,
  isFunctionExpression,
  isGetAccessorDeclaration,
  isImportDeclaration,
  isInterfaceDeclaration,
  isMethodDeclaration,
  isSetAccessorDeclaration,
  isStringLiteral,
  isTypeAliasDeclaration,
} from 'typescript/unstable/ast/is';
import { API, type Checker, SignatureKind, type Type } from 'typescript/unstable/sync';

const root = resolve(import.meta.dirname, '../..');

export interface SourceModule {
  /** Below the folder that was asked for, such as `log/log.ts`. */
  path: string;
  /** The modules of the same folder that it imports, types too. */
  imports: string[];
  /** The types, interfaces, classes and functions at its top. */
  names: string[];
  functions: { name: string; lines: number }[];
  /**
   * Of each list by which something is made (`…Parts`, `…Options`, `…Owner`), inherited members too: what can be called, or has something
   * that can be. Settings and other plain values are not asked of anybody, and {@link everybodysTools} everything gets.
   */
  asks: { name: string; members: string[] }[];
}

const everybodysTools = ['clock', 'faults', 'logger', 'metrics'];

/** @param folder below the checkout, such as `src` */
export function readSourceTree(folder: string): SourceModule[] {
  const base = join(root, folder);
  const api = new API({ cwd: root });
  try {
    const [project] = api.updateSnapshot({ openProjects: [join(root, 'tsconfig.json')] }).getProjects();
    const { program, checker, rootFiles } = project!;
    const paths = rootFiles.filter((path) => path.startsWith(`${base}/`));
    return paths.map((path) => readModule(base, program.getSourceFile(path)!, checker));
  } finally {
    api.close();
  }
}

function readModule(base: string, source: SourceFile, checker: Checker): SourceModule {
  const isNamed = (node: Node) =>
    isFunctionDeclaration(node) ||
    isClassDeclaration(node) ||
    isInterfaceDeclaration(node) ||
    isTypeAliasDeclaration(node);
  return {
    path: relative(base, source.fileName),
    imports: importsOf(source)
      .filter((path) => path.startsWith(`${base}/`))
      .map((path) => relative(base, path)),
    names: source.statements.filter(isNamed).map((node) => nameOf(node)),
    functions: [...functionsIn(source)],
    asks: source.statements
      .filter((node) => isInterfaceDeclaration(node) || isTypeAliasDeclaration(node))
      .filter((node) => /(Parts|Options|Owner)$/.test(nameOf(node)))
      .map((node) => ({ name: nameOf(node), members: askedIn(checker.getTypeAtLocation(node.name)!, checker) })),
  };
}

function askedIn(list: Type, checker: Checker): string[] {
  const members = checker.getPropertiesOfType(list).filter(({ name }) => !everybodysTools.includes(name));
  return members.filter((member) => canBeCalled(checker.getTypeOfSymbol(member)!, checker, 2)).map(({ name }) => name);
}

/** @param depth how far inside something that can be called is looked for */
function canBeCalled(type: Type, checker: Checker, depth: number): boolean {
  if (type.isUnionType()) return type.getTypes().some((each) => canBeCalled(each, checker, depth));
  if (!type.isObjectType() && !type.isIntersectionType()) return false;
  if (checker.getSignaturesOfType(type, SignatureKind.Call).length > 0) return true;
  if (depth === 0 || checker.isArrayLikeType(type)) return false;
  return checker
    .getPropertiesOfType(type)
    .some((each) => canBeCalled(checker.getTypeOfSymbol(each)!, checker, depth - 1));
}

function importsOf(source: SourceFile): string[] {
  return source.statements.flatMap((node) => {
    if (!isImportDeclaration(node) && !isExportDeclaration(node)) return [];
    const from = node.moduleSpecifier;
    if (from === undefined || !isStringLiteral(from) || !from.text.startsWith('.')) return [];
    return [resolve(source.fileName, '..', from.text)];
  });
}

function* functionsIn(node: Node): Generator<{ name: string; lines: number }> {
  const isFunction =
    isFunctionDeclaration(node) ||
    isMethodDeclaration(node) ||
    isConstructorDeclaration(node) ||
    isGetAccessorDeclaration(node) ||
    isSetAccessorDeclaration(node) ||
    isArrowFunction(node) ||
    isFunctionExpression(node);
  if (isFunction) yield { name: nameOf(node), lines: node.getText().split('\n').length };
  const children: Node[] = [];
  node.forEachChild((child) => {
    children.push(child);
  });
  for (const child of children) yield* functionsIn(child);
}

function nameOf(node: Node): string {
  const { name } = node as { name?: Node };
  return name?.getText() ?? (isConstructorDeclaration(node) ? 'constructor' : 'a function without a name');
}
